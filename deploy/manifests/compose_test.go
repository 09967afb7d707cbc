package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

// combinations of override files that are meant to be used.
var combinations = [][]string{
	{}, {"nats"}, {"redis-cluster"}, {"haproxy"}, {"secure"}, {"nats", "haproxy"}, {"redis-cluster", "haproxy"},
}

func load(t *testing.T, overrides []string) *types.Project {
	t.Helper()
	files := []string{filepath.Join(deploy, "compose.yaml")}
	for _, o := range overrides {
		files = append(files, filepath.Join(deploy, "compose."+o+".yaml"))
	}
	options, err := cli.NewProjectOptions(files, cli.WithWorkingDirectory(deploy), cli.WithName("parley"), cli.WithConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestComposeFiles(t *testing.T) {
	secrets := madeSecrets(t)
	for _, overrides := range combinations {
		t.Run(strings.Join(append([]string{"compose"}, overrides...), "+"), func(t *testing.T) {
			project := load(t, overrides)
			for _, name := range ours {
				service, err := project.GetService(name)
				if err != nil {
					t.Fatal(err)
				}
				checkOurs(t, service, secrets)
			}
			for _, service := range project.Services {
				checkAny(t, service)
			}
			for name, secret := range project.Secrets {
				if _, err := os.Stat(filepath.Join(secrets, filepath.Base(secret.File))); err != nil {
					t.Errorf("make secrets does not make %s: %v", name, err)
				}
			}
		})
	}
}

// TestComposeHasAllOverrides: no file is left out of the combinations.
func TestComposeHasAllOverrides(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(deploy, "compose.*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "compose."), ".yaml")
		if !slices.ContainsFunc(combinations, func(c []string) bool { return slices.Contains(c, name) }) {
			t.Errorf("%s is in no combination", file)
		}
	}
}

func checkOurs(t *testing.T, service types.ServiceConfig, secrets string) {
	t.Helper()
	env := map[string]string{}
	for name, value := range service.Environment {
		if value != nil {
			env[name] = *value
		}
	}
	accepts(t, service.Name, env, secrets)
	if service.StopGracePeriod == nil || time.Duration(*service.StopGracePeriod) <= endsIn(t, service.Name, env) {
		t.Errorf("%s: stop_grace_period %v is not beyond what it needs, %s", service.Name, service.StopGracePeriod, endsIn(t, service.Name, env))
	}
	if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) || !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("%s: read_only %t, cap_drop %v, security_opt %v", service.Name, service.ReadOnly, service.CapDrop, service.SecurityOpt)
	}
	if service.Deploy == nil || service.Deploy.Replicas == nil || *service.Deploy.Replicas != 2 {
		t.Errorf("%s: want two replicas", service.Name)
	}
	if service.HealthCheck == nil || !slices.Contains(service.HealthCheck.Test, "--healthcheck=ready") {
		t.Errorf("%s: no healthcheck", service.Name)
	}
	if len(service.Ports) > 0 || service.ContainerName != "" {
		t.Errorf("%s cannot be scaled: it has ports %v or the name %q", service.Name, service.Ports, service.ContainerName)
	}
}

func checkAny(t *testing.T, service types.ServiceConfig) {
	t.Helper()
	for _, port := range service.Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("%s publishes %s on %q, want 127.0.0.1", service.Name, port.Published, port.HostIP)
		}
	}
	if service.Privileged || service.NetworkMode == "host" {
		t.Errorf("%s is privileged or on the host's network", service.Name)
	}
	if _, tag, ok := strings.Cut(service.Image, ":"); !ok || tag == "latest" {
		t.Errorf("%s: image %q is not pinned", service.Name, service.Image)
	}
	for _, volume := range service.Volumes {
		if volume.Type != types.VolumeTypeBind {
			continue
		}
		if !volume.ReadOnly {
			t.Errorf("%s may write to %s", service.Name, volume.Source)
		}
		if dashboards, _ := filepath.Abs(filepath.Join(deploy, "grafana")); !there(dashboards) {
			continue // the stack is not complete without them, and its files come together
		}
		if !there(volume.Source) {
			t.Errorf("%s mounts %s, which is not there", service.Name, volume.Source)
		}
	}
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestPrometheusFindsTheServices: by the names and ports that compose.yaml gives them.
func TestPrometheusFindsTheServices(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(deploy, "prometheus/prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		ScrapeConfigs []struct {
			JobName string `json:"job_name"`
			DNS     []struct {
				Names []string
				Port  int
			} `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, job := range config.ScrapeConfigs {
		if len(job.DNS) == 1 && slices.Equal(job.DNS[0].Names, []string{job.JobName}) {
			found[job.JobName] = fmt.Sprintf(":%d", job.DNS[0].Port)
		}
	}
	project := load(t, nil)
	for _, name := range ours {
		service, err := project.GetService(name)
		if err != nil {
			t.Fatal(err)
		}
		if admin := *service.Environment["PARLEY_ADMIN"]; found[name] != admin {
			t.Errorf("%s is scraped at %q, and listens at %q", name, found[name], admin)
		}
	}
}

// TestComposeOverrides: each override does what it is for.
func TestComposeOverrides(t *testing.T) {
	env := func(p *types.Project, service, name string) string {
		t.Helper()
		s, err := p.GetService(service)
		if err != nil {
			t.Fatal(err)
		}
		if v := s.Environment[name]; v != nil {
			return *v
		}
		return ""
	}
	count := func(p *types.Project, prefix string) (n int) {
		for _, name := range p.ServiceNames() {
			if strings.HasPrefix(name, prefix) {
				n++
			}
		}
		return n
	}
	for _, service := range ours {
		if bus := env(load(t, []string{"nats"}), service, "PARLEY_BUS"); !strings.HasPrefix(bus, "nats://") {
			t.Errorf("nats: %s has %q", service, bus)
		}
		if bus := env(load(t, []string{"redis-cluster"}), service, "PARLEY_BUS"); !strings.HasPrefix(bus, "redis+cluster://") {
			t.Errorf("redis-cluster: %s has %q", service, bus)
		}
		if bus := env(load(t, []string{"secure"}), service, "PARLEY_BUS"); bus != "" {
			t.Errorf("secure: %s has %q beside the file", service, bus)
		}
	}
	if n := count(load(t, []string{"nats"}), "nats-"); n != 3 {
		t.Errorf("nats: %d servers, want 3", n)
	}
	cluster := load(t, []string{"redis-cluster"})
	if n := count(cluster, "redis-"); n != 7 || slices.Contains(cluster.ServiceNames(), "redis") {
		t.Errorf("redis-cluster: %d servers (one of them forms it) and the single one %t", n, slices.Contains(cluster.ServiceNames(), "redis"))
	}
	if auth := env(load(t, []string{"secure"}), "ingress", "PARLEY_AUTH"); auth != "jwt" {
		t.Errorf("secure: auth %q", auth)
	}
	front, err := load(t, []string{"haproxy"}).GetService("front")
	if err != nil || !strings.HasPrefix(front.Image, "haproxy:") || len(front.Volumes) != 1 {
		t.Errorf("haproxy: %+v %v", front, err)
	}
}
