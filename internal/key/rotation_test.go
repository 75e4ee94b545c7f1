package key

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"P28D": 28 * day, "P90D": 90 * day, "P3M": 90 * day, "P18M": 540 * day, "P2Y": 730 * day, "P1Y10D": 375 * day, "PT48H": 2 * day,
		"P1Y2M3DT4H5M6S": year + 2*month + 3*day + 4*hour + 5*minute + 6, "PT1S": 1, "P0Y1D": day, "P007D": 7 * day, "P100Y": 100 * year, "PT1M": 60, "P1M": month} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "P", "PT", "P1YT", "p90d", "P90d", "90D", "P90", "PD", "P-90D", "-P90D", "P9.5D", "P1,5D", "P1D1D", "P1D1Y", "P1H", "PT1D", "PT1Y", "P 90D", "P90D ", "P90D\n",
		"P٩D", "P1W", "P1Y2M3DT4H5M6S1H", "P1DT1HT1M", "P0D", "PT0S", "P101Y", "P36501D", "P1000000D", "P99999999999999999999D", "P90DP90D", "2026-01-01", "null"} {
		if got, err := ParseDuration(in); !errors.Is(err, ErrBadParameter) || got != 0 {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

func rotate(after, before string) []LifetimeAction {
	return []LifetimeAction{{Action: ActionRotate, AfterCreate: after, BeforeExpiry: before}}
}

func TestRotationPolicyRules(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]RotationPolicy{
		"blank":                {},
		"on demand only":       {ExpiryTime: "P2Y"},
		"documented, created":  {Actions: rotate("P18M", ""), ExpiryTime: "P2Y"},
		"documented, expiry":   {Actions: rotate("", "P28D"), ExpiryTime: "P1Y"},
		"shortest":             {Actions: rotate("P28D", ""), ExpiryTime: "P28D"},
		"most before expiry":   {Actions: rotate("", "P28D"), ExpiryTime: "P56D"},
		"without expiry":       {Actions: rotate("P2M", "")},
		"other letter case":    {Actions: []LifetimeAction{{Action: "ROTATE", AfterCreate: "P30D"}}},
		"as old documents say": {Actions: []LifetimeAction{{Action: "rotate", BeforeExpiry: "PT1S"}}, ExpiryTime: "P29D"},
	} {
		got, err := p.Check()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(got.Actions) != len(p.Actions) || len(got.Actions) == 1 && got.Actions[0].Action != ActionRotate || got.ExpiryTime != p.ExpiryTime {
			t.Errorf("%s: %+v", name, got)
		}
		if again, err := got.Check(); err != nil || again.Blank() != p.Blank() {
			t.Errorf("%s: what was accepted is refused: %v", name, err)
		}
	}
	for word, p := range map[string]RotationPolicy{
		"expiryTime P27D is too short":                      {ExpiryTime: "P27D"},
		"attributes.expiryTime: bad parameter: \"90 days\"": {ExpiryTime: "90 days"},
		"P90D for 90 days":                                  {Actions: rotate("90", "")},
		"timeAfterCreate P27D is too short":                 {Actions: rotate("P27D", ""), ExpiryTime: "P1Y"},
		"timeAfterCreate PT671H59M59S is too short":         {Actions: rotate("PT671H59M59S", "")},
		"timeBeforeExpiry needs attributes.expiryTime":      {Actions: rotate("", "P30D")},
		"leaves less than 28 days of expiryTime P56D":       {Actions: rotate("", "P29D"), ExpiryTime: "P56D"},
		"leaves less than 28 days of expiryTime P30D":       {Actions: rotate("", "P60D"), ExpiryTime: "P30D"},
		"timeBeforeExpiry: bad parameter":                   {Actions: rotate("", "x"), ExpiryTime: "P30D"},
		"either timeAfterCreate or timeBeforeExpiry":        {Actions: rotate("", ""), ExpiryTime: "P30D"},
		"a trigger has either":                              {Actions: rotate("P30D", "P30D"), ExpiryTime: "P1Y"},
		"Notify is for vaults only":                         {Actions: []LifetimeAction{{Action: "notify", BeforeExpiry: "P30D"}}, ExpiryTime: "P1Y"},
		`action.type "Delete"`:                              {Actions: []LifetimeAction{{Action: "Delete", AfterCreate: "P30D"}}},
		`action.type ""`:                                    {Actions: []LifetimeAction{{AfterCreate: "P30D"}}},
		"lifetimeActions has 2 entries":                     {Actions: append(rotate("P30D", ""), rotate("P60D", "")...)},
	} {
		got, err := p.Check()
		if !errors.Is(err, ErrBadParameter) || !strings.Contains(err.Error(), word) || !got.Blank() {
			t.Errorf("%+v: %v does not say %q", p, err, word)
		}
	}
}

func TestRotationDue(t *testing.T) {
	t.Parallel()
	const now = 1767323045
	on := Attributes{Enabled: true, Created: now}
	expiring := Attributes{Enabled: true, Created: now, Expires: now + 60*day}
	for name, tc := range map[string]struct {
		p    *RotationPolicy
		a    Attributes
		want int64
	}{
		"no policy":          {nil, on, Never},
		"on demand only":     {&RotationPolicy{ExpiryTime: "P1Y"}, on, Never},
		"after creation":     {&RotationPolicy{Actions: rotate("P30D", "")}, on, now + 30*day},
		"before expiry":      {&RotationPolicy{Actions: rotate("", "P28D"), ExpiryTime: "P60D"}, expiring, now + 32*day},
		"without expiry":     {&RotationPolicy{Actions: rotate("", "P28D"), ExpiryTime: "P60D"}, on, Never},
		"expired long since": {&RotationPolicy{Actions: rotate("", "P28D"), ExpiryTime: "P60D"}, Attributes{Enabled: true, Created: 1, Expires: 2}, 2 - 28*day},
		"disabled":           {&RotationPolicy{Actions: rotate("P30D", "")}, Attributes{Created: now}, Never},
	} {
		if got := tc.p.Due(tc.a); got != tc.want {
			t.Errorf("%s: due at %d, want %d", name, got, tc.want)
		}
	}
	if got := (&RotationPolicy{ExpiryTime: "P90D"}).Expires(now); got != now+7776000 { // as a live service answered
		t.Errorf("expiry of a new version is %d", got)
	}
	if got := (&RotationPolicy{}).Expires(now); got != 0 {
		t.Errorf("expiry of a new version is %d, want none", got)
	}
}

// durationForm is the grammar once more, read by other means.
var durationForm = regexp.MustCompile(`^P(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?$`)

// FuzzDuration: what is accepted is of the documented form and has the sum of its parts.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"P90D", "P1Y10D", "PT48H", "P1Y2M3DT4H5M6S", "P", "PT", "P1YT", "P0D", "P-1D", "P1W", "P100Y", "P101Y", "P999999Y", "P1M1Y", "PT1M", "P1000000D"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParseDuration(in)
		m := durationForm.FindStringSubmatch(in)
		want := int64(0)
		for i, unit := range []int64{year, month, day, hour, minute, 1} {
			if m != nil && m[i+1] != "" {
				n, err := strconv.ParseInt(m[i+1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				want += n * unit
			}
		}
		fine := m != nil && !strings.HasSuffix(in, "T") && want > 0 && want <= maxDuration
		if fine != (err == nil) || fine && got != want {
			t.Errorf("%q: %d, %v; want %d, %v", in, got, err, want, fine)
		}
	})
}
