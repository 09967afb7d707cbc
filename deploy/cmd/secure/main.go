// Command secure makes the secrets of the secure compose stack, one file each.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/parley-chat/parley/deploy/secure"
)

func main() {
	var cfg secure.Config
	flag.StringVar(&cfg.Dir, "dir", "deploy/.secrets", "folder for the files")
	flag.StringVar(&cfg.Redis, "redis", "redis:6379", "where the services reach Redis")
	hosts := flag.String("hosts", "localhost,127.0.0.1", "what clients call the balancer, with commas")
	flag.Parse()
	cfg.Hosts = strings.Split(*hosts, ",")
	if err := secure.Make(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "secure:", err)
		os.Exit(1)
	}
	fmt.Printf("secrets are in %s; ca.crt is what clients and browsers have to trust\n", cfg.Dir)
}
