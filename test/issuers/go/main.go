// Command issuers-go signs with a key of an HSM by azkeys, the genuine Go client, with tokens that a credential of its
// own gets from an OpenID Connect issuer. Each line on standard input is a digest, in hexadecimal; each is answered by
// a line of JSON: what came of it. "token RESOURCE" prints a token instead, for others to use. The environment says for whom, where and with which key. Challenge verification
// is on.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// issuer is an azcore.TokenCredential: azcore keeps its tokens and asks again before they end.
type issuer struct {
	url, form string            // token endpoint, and what to send it besides the scope
	scopes    map[string]string // the issuer's scopes by Azure's
}

// GetToken implements azcore.TokenCredential.
func (i issuer) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || i.scopes[o.Scopes[0]] == "" {
		return azcore.AccessToken{}, fmt.Errorf("no token can be had for %q", o.Scopes)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url, strings.NewReader(i.form+"&scope="+url.QueryEscape(i.scopes[o.Scopes[0]])))
	if err != nil {
		return azcore.AccessToken{}, err
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	defer resp.Body.Close()
	var out struct {
		Token    string `json:"access_token"`
		Lifetime int    `json:"expires_in"`
		Error    string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.Token == "" {
		return azcore.AccessToken{}, fmt.Errorf("the issuer answered %s: %s", resp.Status, out.Error)
	}
	return azcore.AccessToken{Token: out.Token, ExpiresOn: time.Now().Add(time.Duration(out.Lifetime) * time.Second)}, nil
}

// outcome is what came of a request.
type outcome struct {
	Status  int    `json:"status"` // 0: it did not come to one
	Message string `json:"message,omitempty"`
}

func of(err error) outcome {
	var failed *azcore.ResponseError
	switch {
	case err == nil:
		return outcome{Status: http.StatusOK}
	case errors.As(err, &failed):
		return outcome{failed.StatusCode, failed.Error()}
	}
	return outcome{0, err.Error()}
}

func main() {
	ctx := context.Background()
	cred := issuer{os.Getenv("ISSUER_TOKEN_URL"), os.Getenv("ISSUER_FORM"), map[string]string{os.Getenv("ISSUER_AUDIENCE") + "/.default": os.Getenv("ISSUER_SCOPE")}}
	client, err := azkeys.NewClient(os.Getenv("REDOUBT_HSM_URL"), cred, &azkeys.ClientOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) == 3 && os.Args[1] == "token" {
		token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{os.Args[2] + "/.default"}})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(token.Token)
		return
	}
	key, answers := os.Getenv("REDOUBT_KEY"), json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == "create" {
			_, err = client.CreateKey(ctx, key, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeECHSM), Curve: to.Ptr(azkeys.CurveNameP256)}, nil)
		} else {
			err = sign(ctx, client, key, lines.Text())
		}
		if err := answers.Encode(of(err)); err != nil {
			return
		}
	}
}

// sign has a digest signed and the signature verified.
func sign(ctx context.Context, c *azkeys.Client, key, digest string) error {
	b, err := hex.DecodeString(digest)
	if err != nil {
		return err
	}
	signed, err := c.Sign(ctx, key, "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmES256), Value: b}, nil)
	if err != nil {
		return err
	}
	verified, err := c.Verify(ctx, key, "", azkeys.VerifyParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmES256), Digest: b, Signature: signed.Result}, nil)
	if err == nil && (verified.Value == nil || !*verified.Value) {
		err = errors.New("the signature does not verify")
	}
	return err
}
