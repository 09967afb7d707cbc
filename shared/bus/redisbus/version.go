package redisbus

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

const wantedMajor = 7

// ready looks once at what kind of server this is. It stands before everything that
// a service does first, so that one on an old server fails with a clear error and not
// later with a script's.
func (b *Backend) ready(ctx context.Context) error {
	if b.checked.Load() {
		return nil
	}
	hello := redis.NewMapStringInterfaceCmd(ctx, "hello")
	err := b.client.Process(ctx, hello)
	if err != nil && strings.HasPrefix(err.Error(), "ERR unknown command") {
		return fmt.Errorf("this Redis is older than 6.0: %d.0 or newer is needed", wantedMajor)
	}
	if err != nil {
		return unavailable("ask Redis for its version", err)
	}
	version, _ := hello.Val()["version"].(string)
	if err := checkVersion(version); err != nil {
		return err
	}
	b.checked.Store(true)
	return nil
}

func checkVersion(version string) error {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		return fmt.Errorf("the server says its version is %q: Redis %d.0 or newer is needed", version, wantedMajor)
	}
	if n < wantedMajor {
		return fmt.Errorf("this is Redis %s: %d.0 or newer is needed", version, wantedMajor)
	}
	return nil
}
