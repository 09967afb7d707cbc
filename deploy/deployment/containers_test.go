package deployment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// containers are the compose stack on an engine, worked with the targets of the
// Makefile, as an operator would.
type containers struct {
	*engine
	command                    string // Compose with its files
	images                     string // in front of the names of the services' images
	front, grafana, prometheus string // where each is published
}

const upIn = 3 * time.Minute // for a target that waits until containers are healthy

// newContainers makes the images, those of the services from the binaries.
func newContainers(e *engine, bin string) (*containers, error) {
	var ports [3]string
	for i := range ports {
		ports[i] = freePort(e.t)
	}
	name := "parley-test-" + ports[0]
	subnet, err := strconv.Atoi(ports[0])
	if err != nil {
		return nil, err
	}
	e.env = append(e.env, "IMAGES="+name, "COMPOSE_PROJECT_NAME="+name, "PARLEY_PORT="+ports[0], "GRAFANA_PORT="+ports[1], "PROMETHEUS_PORT="+ports[2],
		fmt.Sprintf("FRONT_SUBNET=172.31.%d.0/24", subnet%200))
	c := &containers{engine: e, images: name, front: "http://127.0.0.1:" + ports[0], grafana: "http://127.0.0.1:" + ports[1], prometheus: "http://127.0.0.1:" + ports[2]}

	// A program written by the shell's rules: the command may be two words.
	rendered, err := e.try(60*time.Second, "sh", "-c", e.compose+" -f deploy/compose.yaml config --format json 2>/dev/null")
	if err != nil {
		return nil, err
	}
	var config struct {
		Services map[string]struct{ Image string }
	}
	if err := json.Unmarshal([]byte(rendered), &config); err != nil {
		return nil, fmt.Errorf("what Compose makes of the files: %w", err)
	}
	images := map[string]string{}
	for name, service := range config.Services {
		images[name] = service.Image
	}
	override, err := e.standInFor(images)
	if err != nil {
		return nil, err
	}
	c.command = e.compose + " -f deploy/compose.yaml -f " + override
	return c, c.imagesOf(bin)
}

// imagesOf makes the services' images of other binaries than the project's own.
func (c *containers) imagesOf(bin string) error {
	dir := filepath.Join(c.dir, "services")
	if err := os.MkdirAll(filepath.Join(dir, "bin/image"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/image/ca-certificates.crt"), nil, 0o644); err != nil {
		return err
	}
	for _, service := range []string{"ingress", "chat", "notifier"} {
		if err := copyFile(filepath.Join(bin, service), filepath.Join(dir, "bin/image", service)); err != nil {
			return err
		}
		if _, err := c.try(3*time.Minute, "docker", "build", "--file", "deploy/docker/Dockerfile", "--target", "local",
			"--build-arg", "SERVICE="+service, "--label", "org.opencontainers.image.version=before", "--tag", c.image(service, "dev"), dir); err != nil {
			return err
		}
	}
	return nil
}

func (c *containers) image(service, tag string) string { return c.images + "/" + service + ":" + tag }

// make runs a target of the Makefile on this stack.
func (c *containers) make(args ...string) {
	c.t.Helper()
	c.must(upIn, append([]string{"make", "COMPOSE=" + c.command}, args...)...)
}

// end removes all of it. It is called with the test that outlasts the others.
func (c *containers) end(t *testing.T) {
	c.t = t
	if t.Failed() {
		for _, args := range []string{" ps --all", " logs --no-color --tail 40"} {
			out, _ := c.try(60*time.Second, "sh", "-c", c.command+args)
			t.Logf("%s:\n%s", args, out)
		}
	}
	// Compose goes on to the networks while the engine may still take containers off them, and is refused
	// then; so the containers go first.
	for _, step := range []string{
		c.command + " stop --timeout 5",
		c.command + " rm --force",
		`until [ -z "$(docker ps --all --quiet --filter label=com.docker.compose.project="$COMPOSE_PROJECT_NAME")" ]; do sleep 0.2; done`,
		c.command + " down --volumes --timeout 5",
	} {
		if out, err := c.try(2*time.Minute, "sh", "-c", step); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	remove := []string{"docker", "image", "rm", "--force"}
	for _, service := range []string{"ingress", "chat", "notifier"} {
		remove = append(remove, c.image(service, "dev"), c.image(service, "after"))
	}
	for _, s := range standIns {
		remove = append(remove, s.image())
	}
	_, _ = c.try(60*time.Second, remove...) // some may not have been made
}

// versions are those of the service's containers that run, one a container.
func (c *containers) versions(service string) []string {
	c.t.Helper()
	ids := strings.Fields(c.must(60*time.Second, "sh", "-c", c.command+" ps --quiet "+service+" 2>/dev/null"))
	out := c.must(60*time.Second, append([]string{"docker", "inspect", "--format", `{{index .Config.Labels "org.opencontainers.image.version"}}`}, ids...)...)
	return strings.Fields(out)
}

// seen waits until Prometheus finds so many of the service, and can ask each.
func (c *containers) seen(service string, n int) {
	c.t.Helper()
	query := c.prometheus + "/api/v1/query?query=" + url.QueryEscape(fmt.Sprintf(`count(up{job=%q} == 1)`, service))
	eventually(c.t, fmt.Sprintf("Prometheus sees %d of %s", n, service), 60*time.Second, func() error {
		res, err := http.Get(query)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
		if err != nil {
			return err
		}
		if !strings.Contains(string(body), fmt.Sprintf(`,"%d"]`, n)) {
			return errors.New(string(body))
		}
		return nil
	})
}

// stackOfContainers is stackOfProcesses with containers.
func stackOfContainers(t *testing.T, c *containers) {
	c.make("up")
	alice, bob := browsers(t, c.front)
	alice.tell(bob, "before")
	l := underLoad(t, c.front, nil)
	l.more(60)
	for _, service := range []string{"ingress", "chat", "notifier"} {
		c.seen(service, 2)
	}
	if page := getPage(t, c.grafana+"/dashboards/parley.json"); !json.Valid([]byte(page)) {
		t.Error("the dashboard is not what Grafana is given")
	}

	c.make("scale", "SERVICE=ingress", "N=4")
	l.more(40)
	c.seen("ingress", 4)
	c.make("scale", "SERVICE=ingress", "N=2")
	l.more(40)

	c.make("images", "BASE=local", "VERSION=after")
	for _, service := range []string{"notifier", "chat", "ingress"} {
		c.make("upgrade", "SERVICE="+service, "N=2")
		l.more(40)
		if versions := c.versions(service); strings.Join(versions, " ") != "after after" {
			t.Errorf("after the upgrade of %s there are %v", service, versions)
		}
	}
	l.finish()
	bob.tell(alice, "after")
	if l.moves() == 0 {
		t.Error("no connection moved, though every edge was drained")
	}
}
