package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"redoubt/internal/client"
	"redoubt/internal/securitydomain"
	"redoubt/test/internal/devcloud"
)

// world is the server, a person signed in to it, and what the scenarios share.
type world struct {
	server *server
	http   *http.Client
	arm    *client.Client
	me     client.User

	holders []securitydomain.WrappingKey
	file    []byte         // security domain of main
	storage client.Storage // used with main's identity
	main    string         // an active HSM with some keys
}

const (
	group      = "ContosoResourceGroup"
	region     = "westus3"
	cryptoUser = "21dbd100-6940-42c2-9190-5d6cb909625b"
	mainKeys   = 150 // keys of main: enough that backup and restore take some time
)

func newWorld(ctx context.Context, dir string) (*world, error) {
	bin, err := build(ctx, dir)
	if err != nil {
		return nil, err
	}
	w := &world{server: &server{bin: bin, dir: filepath.Join(dir, "data")}, main: "contosomain"}
	if w.holders, err = devcloud.Holders(3); err != nil {
		return nil, err
	}
	if err := w.restart(ctx); err != nil {
		return nil, err
	}
	if err := w.furnish(ctx); err != nil {
		w.server.kill()
		return nil, fmt.Errorf("prepare: %w", err)
	}
	return w, nil
}

// restart starts the server and signs in to it.
func (w *world) restart(ctx context.Context) error {
	if w.http != nil {
		w.http.CloseIdleConnections()
	}
	if err := w.server.start(ctx); err != nil {
		return err
	}
	env, err := w.server.environ(ctx)
	if err != nil {
		return err
	}
	if w.http, err = devcloud.Browser(env); err != nil {
		return err
	}
	conf, err := client.FromEnvironment(func(name string) string {
		if name == "REDOUBT_AUTH" {
			return client.AuthPassword
		}
		return env(name)
	}, w.http)
	if err != nil {
		return err
	}
	conf.PollEvery = time.Millisecond
	w.arm, err = client.New(conf)
	return err
}

// check examines the folder of the dead server.
func (w *world) check(ctx context.Context) error { return w.server.check(ctx) }

// furnish makes main, its keys, and the storage for its backups.
func (w *world) furnish(ctx context.Context) error {
	var err error
	if w.me, err = w.arm.Me(ctx); err != nil {
		return err
	}
	h, err := w.create(ctx, w.main)
	if err != nil {
		return err
	}
	if w.file, err = w.activate(ctx, h); err != nil {
		return err
	}
	if err := w.allow(ctx, h); err != nil {
		return err
	}
	account, err := w.arm.PutStorageAccount(ctx, group, "contosokill", region)
	if err != nil {
		return err
	}
	mi, err := w.arm.PutManagedIdentity(ctx, group, "kill", region)
	if err != nil {
		return err
	}
	for principal, kind := range map[string]string{w.me.ID: "User", mi.PrincipalID: "ServicePrincipal"} {
		if _, err := w.arm.AssignRole(ctx, account.ID, client.StorageBlobDataContributor, principal, kind); err != nil {
			return err
		}
	}
	if err := w.arm.CreateContainer(ctx, "contosokill", "backups"); err != nil {
		return err
	}
	if _, err := w.arm.SetHSMIdentities(ctx, group, w.main, []string{mi.ID}); err != nil {
		return err
	}
	w.storage = client.Storage{URI: w.arm.ContainerURL("contosokill", "backups"), ManagedIdentity: true}
	return parallel(4, mainKeys, func(i int) error {
		_, err := h.CreateKey(ctx, fmt.Sprintf("key-%03d", i), client.CreateKey{Kty: "EC-HSM", Crv: "P-256"})
		return err
	})
}

// parallel runs do for 0 to n-1 with a few workers.
func parallel(workers, n int, do func(i int) error) error {
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					errs[k] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (w *world) create(ctx context.Context, name string) (*client.HSM, error) {
	if _, err := w.arm.CreateHSM(ctx, group, name, client.CreateHSM{Location: region, Administrators: []string{w.me.ID}, RetentionDays: 7}); err != nil {
		return nil, err
	}
	return w.arm.HSMNamed(name)
}

// activate takes the security domain and waits until it counts.
func (w *world) activate(ctx context.Context, h *client.HSM) ([]byte, error) {
	return devcloud.Activate(ctx, h, w.holders)
}

func (w *world) allow(ctx context.Context, h *client.HSM) error {
	_, err := h.CreateRoleAssignment(ctx, "/", "", w.me.ID, cryptoUser)
	return err
}

// usable makes sure that an active HSM does its work.
func (w *world) usable(ctx context.Context, h *client.HSM) error {
	if err := w.allow(ctx, h); err != nil && !client.IsConflict(err) {
		return err
	}
	if _, err := h.CreateKey(ctx, "works", client.CreateKey{Kty: "oct-HSM", Size: 128}); err != nil {
		return fmt.Errorf("the HSM is active but does not work: %w", err)
	}
	return nil
}
