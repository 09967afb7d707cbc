package deployment

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// standIn is an image of programs of this machine and the libraries they load, for one
// that cannot be pulled everywhere. It behaves as that one does as far as compose.yaml
// relies on it.
type standIn struct {
	service    string
	programs   map[string][]string // name in the image → names it may have here
	files      map[string]string   // further files, by path
	dockerfile string              // what follows the programs
}

// In a container a service's own folder exists and is the user's; nothing else is.
var standIns = []standIn{
	{service: "front", programs: map[string][]string{"nginx": {"nginx"}}},
	{
		service:    "redis",
		programs:   map[string][]string{"redis-server": {"redis-server", "valkey-server"}, "redis-cli": {"redis-cli", "valkey-cli"}},
		dockerfile: "WORKDIR /data\n",
	},
	{
		service:    "prometheus",
		programs:   map[string][]string{"prometheus": {"prometheus"}},
		files:      map[string]string{"prometheus/.keep": ""},
		dockerfile: "COPY --chown=65534:65534 prometheus /prometheus\nWORKDIR /prometheus\nUSER 65534:65534\nENTRYPOINT [\"/usr/local/bin/prometheus\"]\n",
	},
	{
		// No system has Grafana's package: something that serves the files it is given.
		service:  "grafana",
		programs: map[string][]string{"nginx": {"nginx"}},
		files: map[string]string{"grafana/.keep": "", "rootfs/etc/stand-in.conf": "pid nginx.pid;\nevents {}\nhttp {\n  access_log off;\n" +
			"  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n" +
			"  server { listen 3000; root /etc/grafana; }\n}\n"},
		dockerfile: "COPY --chown=472:472 grafana /var/lib/grafana\nUSER 472:472\n" +
			"CMD [\"nginx\", \"-p\", \"/var/lib/grafana\", \"-c\", \"/etc/stand-in.conf\", \"-e\", \"stderr\", \"-g\", \"daemon off;\"]\n",
	},
}

// standInFor builds the images that the engine does not have, and returns the path of
// an override file that names them. Nothing is pulled.
func (e *engine) standInFor(images map[string]string) (string, error) {
	services := map[string]map[string]string{}
	for _, s := range standIns {
		services[s.service] = map[string]string{"pull_policy": "never"}
		if _, err := e.try(20*time.Second, "docker", "image", "inspect", images[s.service]); err == nil {
			continue
		}
		if err := e.buildStandIn(s); err != nil {
			return "", err
		}
		services[s.service]["image"] = s.image()
	}
	raw, err := json.Marshal(map[string]any{"services": services})
	if err != nil {
		return "", err
	}
	path := filepath.Join(e.dir, "stand-ins.json")
	return path, os.WriteFile(path, raw, 0o644)
}

func (s standIn) image() string { return "parley-stand-in/" + s.service + ":here" }

func (e *engine) buildStandIn(s standIn) error {
	dir := filepath.Join(e.dir, s.service)
	var folders []string
	for name, candidates := range s.programs {
		path, err := programHere(candidates)
		if err != nil {
			return err
		}
		if err := copyFile(path, filepath.Join(dir, "rootfs/usr/local/bin", name)); err != nil {
			return err
		}
		libraries, err := librariesOf(path)
		if err != nil {
			return err
		}
		for _, library := range libraries {
			if err := copyFile(library, filepath.Join(dir, "rootfs", library)); err != nil {
				return err
			}
			if folder := filepath.Dir(library); !slices.Contains(folders, folder) {
				folders = append(folders, folder)
			}
		}
	}
	for path, text := range s.files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return e.build(dir, s.image(), "FROM scratch\nCOPY rootfs /\nENV PATH=/usr/local/bin LD_LIBRARY_PATH="+strings.Join(folders, ":")+"\n"+s.dockerfile)
}

func programHere(candidates []string) (string, error) {
	for _, name := range candidates {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s here to make an image of", strings.Join(candidates, " or "))
}

// ldd writes "name => /path (0x…)", and "/path (0x…)" for the one that loads the others.
var loaded = regexp.MustCompile(`(?m)^\t(?:.* => )?(/.*) \(0x[0-9a-f]+\)$`)

func librariesOf(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return nil, nil
		}
		return nil, errors.Join(err, errors.New(lastLine(string(out))))
	}
	var paths []string
	for _, match := range loaded.FindAllStringSubmatch(string(out), -1) {
		paths = append(paths, match[1])
	}
	return paths, nil
}
