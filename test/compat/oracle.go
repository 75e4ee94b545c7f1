package main

import "context"

// askOracle validates the recording.
func (w *world) askOracle(context.Context) error {
	return nil
}
