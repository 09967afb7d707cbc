// Command standalone runs Parley in one process.
package main

import (
	"context"
	"os"

	"github.com/parley-chat/parley/deploy/standalone"
	"github.com/parley-chat/parley/shared/process"
)

func main() {
	var cfg standalone.Config
	process.Main(standalone.Program(), &cfg, func(ctx context.Context, p *process.Process) error {
		return standalone.Run(ctx, cfg, p, os.Stdout)
	})
}
