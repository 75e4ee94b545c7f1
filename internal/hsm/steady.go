package hsm

import "context"

// A full restore replaces the content while calls are under way: it swaps the generation in the device
// record and then sweeps the old one. A mutation notices when it commits; what only reads must look again.

// changed tells whether the device is no longer as the call was admitted on.
func (c *call) changed(ctx context.Context) bool {
	_, rev, err := c.h.readDevice(ctx)
	return err == nil && rev != c.v.rev
}

// swapped tells whether the content the call was admitted on has been replaced.
func (c *call) swapped(ctx context.Context) bool {
	d, _, err := c.h.readDevice(ctx)
	return err == nil && d.Generation != c.v.dev.Generation
}

// read runs do, which reads single records. A failure counts only if the device is still the same:
// otherwise the record may just have gone with its generation, and the call is admitted and done anew.
func (c *call) read(ctx context.Context, do func() error) error {
	return c.again(ctx, do, func(err error) bool { return err != nil && c.changed(ctx) })
}

// readSet runs do, which reads records that belong together. Success counts only if the content was not
// replaced meanwhile: it might be half of what was there.
func (c *call) readSet(ctx context.Context, do func() error) error {
	return c.again(ctx, do, func(err error) bool {
		return err != nil && c.changed(ctx) || err == nil && c.swapped(ctx)
	})
}

func (c *call) again(ctx context.Context, do func() error, stale func(error) bool) error {
	for range attempts {
		err := do()
		if !stale(err) {
			return err
		}
		if err := c.admit(ctx); err != nil {
			return err
		}
	}
	return ErrConflict
}
