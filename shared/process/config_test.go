package process

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// demo is a program's settings as a service would declare them.
type demo struct {
	Common
	Demo `embed:""`
}

type Demo struct {
	JWTSecret Secret        `name:"jwt-secret" help:"Key of the tokens."`
	Origins   []string      `help:"Allowed origins."`
	Drain     time.Duration `default:"20s" min:"0s" max:"10m" help:"Drain window."`
	Rate      float64       `default:"20" min:"0" help:"Requests per second."`
	Anywhere  bool          `help:"Also off loopback."`
}

func (d *Demo) Validate() error {
	if d.Anywhere && d.JWTSecret == "" {
		return BadSetting("PARLEY_ANYWHERE", "needs PARLEY_JWT_SECRET")
	}
	return nil
}

var program = Program{Name: "demo", Description: "A demonstration.", Version: "v1.2.3",
	Defaults: map[string]string{"admin": "127.0.0.1:9101"}}

// load runs Load with a file (when content is not empty), an environment and arguments.
func load(t *testing.T, prog Program, file string, env map[string]string, args ...string) (demo, string, error) {
	t.Helper()
	if file != "" {
		args = append(args, "--config", write(t, "demo.yaml", file))
	}
	var cfg demo
	var out bytes.Buffer
	getenv := func(name string) string { return env[name] }
	_, err := Load(prog, &cfg, Source{Args: args, Getenv: getenv, Stdout: &out, Stderr: &out})
	return cfg, out.String(), err
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPriority(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		env  string
		args []string
		want int
	}{
		"default":              {want: 8},
		"file":                 {file: "partitions: 2", want: 2},
		"env over file":        {file: "partitions: 2", env: "3", want: 3},
		"flag over all":        {file: "partitions: 2", env: "3", args: []string{"--partitions=4"}, want: 4},
		"empty env is not set": {file: "partitions: 2", env: "", want: 2},
		"null is not set":      {file: "partitions:", want: 8},
		"empty file":           {file: "# nothing", want: 8},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _, err := load(t, program, c.file, map[string]string{"PARLEY_PARTITIONS": c.env}, c.args...)
			if err != nil || cfg.Partitions != c.want {
				t.Errorf("partitions = %d, %v; want %d", cfg.Partitions, err, c.want)
			}
		})
	}
}

func TestKindsOfValues(t *testing.T) {
	cfg, _, err := load(t, program, "origins: [https://a.example, 'x,y']\ndrain: 1m\nrate: 0.5\njwt_secret: s\nanywhere: true\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.Origins, []string{"https://a.example", "x,y"}) || cfg.Drain != time.Minute || cfg.Rate != 0.5 || !cfg.Anywhere || cfg.JWTSecret != "s" {
		t.Errorf("got %+v", cfg.Demo)
	}
	cfg, _, err = load(t, program, "", map[string]string{"PARLEY_ORIGINS": "a,b"})
	if err != nil || !slices.Equal(cfg.Origins, []string{"a", "b"}) || cfg.Admin != "127.0.0.1:9101" {
		t.Errorf("got %+v, %v", cfg, err)
	}
	if cfg.Node == "" {
		t.Error("no host name as node")
	}
}

func TestConfigPathFromEnvironment(t *testing.T) {
	path := write(t, "c.yaml", "prefix: other")
	cfg, _, err := load(t, program, "", map[string]string{"PARLEY_CONFIG": path})
	if err != nil || cfg.Prefix != "other" {
		t.Errorf("prefix = %q, %v", cfg.Prefix, err)
	}
}

func TestSecrets(t *testing.T) {
	path := write(t, "secret", "from a file\n")
	for name, c := range map[string]struct {
		file string
		env  map[string]string
		args []string
		want string
		err  string
	}{
		"env":                     {env: map[string]string{"PARLEY_JWT_SECRET": "plain"}, want: "plain"},
		"env file":                {env: map[string]string{"PARLEY_JWT_SECRET_FILE": path}, want: "from a file"},
		"flag file":               {args: []string{"--jwt-secret-file", path}, want: "from a file"},
		"yaml file":               {file: "jwt-secret-file: " + path, want: "from a file"},
		"flag over env file":      {env: map[string]string{"PARLEY_JWT_SECRET_FILE": path}, args: []string{"--jwt-secret=x"}, want: "x"},
		"env file over yaml":      {file: "jwt-secret: y", env: map[string]string{"PARLEY_JWT_SECRET_FILE": path}, want: "from a file"},
		"both":                    {env: map[string]string{"PARLEY_JWT_SECRET_FILE": path, "PARLEY_JWT_SECRET": "x"}, err: "PARLEY_JWT_SECRET_FILE (--jwt-secret-file): PARLEY_JWT_SECRET (--jwt-secret) is given as well"},
		"missing file":            {env: map[string]string{"PARLEY_JWT_SECRET_FILE": "/nowhere"}, err: "PARLEY_JWT_SECRET_FILE (--jwt-secret-file): open /nowhere: no such file"},
		"empty file":              {env: map[string]string{"PARLEY_JWT_SECRET_FILE": write(t, "empty", "\n")}, err: "is empty"},
		"too long":                {env: map[string]string{"PARLEY_JWT_SECRET_FILE": write(t, "long", strings.Repeat("x", maxSecretFile+1))}, err: "longer than 65536 bytes"},
		"only line breaks go":     {env: map[string]string{"PARLEY_JWT_SECRET_FILE": write(t, "s", " a b \r\n")}, want: " a b "},
		"not for other settings":  {args: []string{"--prefix-file", path}, err: "unknown flag --prefix-file"},
		"of a URL":                {env: map[string]string{"PARLEY_BUS_FILE": write(t, "u", "redis://:pw@h/0")}, want: ""},
		"loads the admin's token": {env: map[string]string{"PARLEY_ADMIN_TOKEN_FILE": path}, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _, err := load(t, program, c.file, c.env, c.args...)
			expectError(t, err, c.err)
			if c.err == "" && string(cfg.JWTSecret) != c.want {
				t.Errorf("secret = %q, want %q", string(cfg.JWTSecret), c.want)
			}
			if c.env["PARLEY_BUS_FILE"] != "" && string(cfg.Bus) != "redis://:pw@h/0" {
				t.Errorf("bus = %q", string(cfg.Bus))
			}
			if c.env["PARLEY_ADMIN_TOKEN_FILE"] != "" && cfg.AdminToken != "from a file" {
				t.Errorf("admin token = %q", string(cfg.AdminToken))
			}
		})
	}
}

func expectError(t *testing.T, err error, words string) {
	t.Helper()
	if words == "" {
		if err != nil {
			t.Errorf("error %q", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v, want one with %q", err, words)
		return
	}
	var bad *ConfigError
	if !errors.As(err, &bad) {
		t.Errorf("%T is not a *ConfigError", err)
	}
}

func TestErrorsNameTheSetting(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		env  map[string]string
		args []string
		err  []string
	}{
		"not a number":    {env: map[string]string{"PARLEY_PARTITIONS": "many"}, err: []string{"PARLEY_PARTITIONS (--partitions): ", `"many"`}},
		"below":           {args: []string{"--partitions=0"}, err: []string{"PARLEY_PARTITIONS (--partitions): 0 is not allowed: it must be 1 to 1000"}},
		"above, in file":  {file: "prefix: a\npartitions: 1001", err: []string{"PARLEY_PARTITIONS", "1 to 1000", "demo.yaml line 2"}},
		"duration":        {args: []string{"--drain=11m"}, err: []string{"PARLEY_DRAIN (--drain): 11m0s", "0s to 10m"}},
		"float":           {args: []string{"--rate=-1"}, err: []string{"PARLEY_RATE (--rate): -1", "0 or more"}},
		"enum":            {env: map[string]string{"PARLEY_LOG_LEVEL": "loud"}, err: []string{"PARLEY_LOG_LEVEL (--log-level)", "warn", `"loud"`}},
		"pattern":         {env: map[string]string{"PARLEY_PREFIX": "Ä b"}, err: []string{"PARLEY_PREFIX (--prefix)", "[a-z0-9-]+"}},
		"empty pattern":   {args: []string{"--node="}, err: []string{"PARLEY_NODE (--node)"}},
		"unknown flag":    {args: []string{"--partition=3"}, err: []string{"unknown flag --partition", "--partitions"}},
		"argument":        {args: []string{"serve"}, err: []string{"unexpected argument serve"}},
		"unknown key":     {file: "partitons: 3", err: []string{"PARLEY_CONFIG (--config)", "demo.yaml", "line 1", `"partitons"`}},
		"doubled key":     {file: "log-level: info\nlog_level: info", err: []string{"line 2", `"log_level" is given twice`}},
		"nested":          {file: "bus: {url: x}", err: []string{"PARLEY_BUS", "must be a text", "line 1"}},
		"list of lists":   {file: "origins: [[a]]", err: []string{"PARLEY_ORIGINS", "items of a list"}},
		"not a mapping":   {file: "- a", err: []string{"name: value"}},
		"two documents":   {file: "prefix: a\n---\nprefix: b", err: []string{"one YAML document"}},
		"not YAML":        {file: "a: b: c", err: []string{"demo.yaml", "yaml: "}},
		"key help":        {file: "help: true", err: []string{`unknown key "help"`}},
		"no such file":    {args: []string{"--config=/nowhere"}, err: []string{"PARLEY_CONFIG (--config): open /nowhere"}},
		"own Validate":    {args: []string{"--anywhere"}, err: []string{"PARLEY_ANYWHERE (--anywhere): needs PARLEY_JWT_SECRET"}},
		"memory alone":    {args: []string{"--bus=memory://"}, err: []string{"PARLEY_BUS (--bus): memory://", "standalone"}},
		"memory store":    {args: []string{"--store=memory://"}, err: []string{"PARLEY_STORE (--store)", "standalone"}},
		"address as word": {args: []string{"--bus=localhost:6379"}, err: []string{"PARLEY_BUS (--bus)", "scheme://host"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, program, c.file, c.env, c.args...)
			for _, words := range c.err {
				expectError(t, err, words)
			}
		})
	}
}

func TestStore(t *testing.T) {
	together := program
	together.Memory = true
	for name, c := range map[string]struct{ bus, store, want, err string }{
		"default":               {want: "redis://127.0.0.1:6379/0"},
		"as the Redis bus":      {bus: "redis+cluster://a,b", want: "redis+cluster://a,b"},
		"as the memory bus":     {bus: "memory://", want: "memory://"},
		"Redis beside NATS":     {bus: "nats://a", want: "redis://127.0.0.1:6379/0"},
		"own":                   {bus: "redis://a", store: "redis://b", want: "redis://b"},
		"memory store on Redis": {bus: "redis://a", store: "memory://", err: "PARLEY_STORE"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _, err := load(t, together, "", map[string]string{"PARLEY_BUS": c.bus, "PARLEY_STORE": c.store})
			expectError(t, err, c.err)
			if err == nil && string(cfg.Store) != c.want {
				t.Errorf("store = %q, want %q", string(cfg.Store), c.want)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	_, out, err := load(t, program, "", map[string]string{"PARLEY_PARTITIONS": "many"}, "--help")
	if !errors.Is(err, ErrShown) {
		t.Fatal(err)
	}
	for _, words := range []string{"--partitions=8", "[PARLEY_PARTITIONS]", "1 to 1000", "--jwt-secret-file=FILE", "[PARLEY_JWT_SECRET_FILE]", "127.0.0.1:9101", "debug, info, warn, error", "[PARLEY_CONFIG]"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), words) {
			t.Errorf("help lacks %q:\n%s", words, out)
		}
	}
	if _, out, err = load(t, program, "", nil, "--version"); !errors.Is(err, ErrShown) || out != "demo v1.2.3\n" {
		t.Errorf("version: %q, %v", out, err)
	}
}

func TestDefaultOfUnknownSetting(t *testing.T) {
	prog := program
	prog.Defaults = map[string]string{"listn": "x"}
	if _, _, err := load(t, prog, "", nil); err == nil || !strings.Contains(err.Error(), "--listn") {
		t.Errorf("error %v", err)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	cfg, _, err := load(t, program, "", map[string]string{"PARLEY_JWT_SECRET": "hunter2", "PARLEY_BUS": "redis://:hunter2@h/0"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, format := range []string{"json", "text"} {
		NewLogger(&out, "info", format).Info("config", "cfg", cfg, "secret", cfg.JWTSecret, "bus", cfg.Bus)
	}
	settings, err := Load(program, &cfg, Source{Getenv: func(name string) string {
		return map[string]string{"PARLEY_JWT_SECRET": "hunter2", "PARLEY_BUS": "redis://:hunter2@h/0"}[name]
	}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	NewLogger(&out, "info", "json").Info("started", slog.Any("settings", settings))
	fmt.Fprintf(&out, "%v %+v %#v %s %q", cfg, cfg, cfg, cfg.JWTSecret, cfg.Bus)
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("the secret shows:\n%s", out.String())
	}
	if !strings.Contains(out.String(), `"settings":{`) || !strings.Contains(out.String(), redacted) {
		t.Errorf("no settings:\n%s", out.String())
	}
}

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"redis://127.0.0.1:6379/0":            "redis://127.0.0.1:6379/0",
		"redis://:pw@h/0":                     "redis://:[redacted]@h/0",
		"rediss://user:p@w@h":                 "rediss://user:[redacted]@h",
		"nats://token@h":                      "nats://[redacted]@h",
		"redis+cluster://u:p/w@a:1,u:p@b:2":   "redis+cluster://u:[redacted]@b:2",
		"nats://h?password=x&a=b&auth_token=": "nats://h?password=[redacted]&a=b&auth_token=[redacted]",
		"":                                    "",
	} {
		if got := redactURL(in); got != want {
			t.Errorf("redactURL(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{"bus: a", "bus: [a, b]", "a: b: c", "- x", "---\n---", "bus: &x [*x]", "? [a]\n: b", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		values, err := parseFile(content, map[string]bool{"bus": true})
		if err != nil {
			return
		}
		for name, node := range values {
			if name != "bus" {
				t.Errorf("unknown key %q got through", name)
			}
			_, _ = plain(node)
		}
	})
}
