package process

import (
	"context"
	"strings"
	"testing"
)

func TestTracesAreOffByDefaultAndByStandardVariables(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		code int
		says string // on stderr
		off  bool
	}{
		"default":  {off: true},
		"none":     {env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}, off: true},
		"disabled": {env: map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, off: true},
		"console":  {env: map[string]string{"OTEL_TRACES_EXPORTER": "console", "OTEL_TRACES_SAMPLER": "always_on"}, says: `"Name":"hello"`},
		"otlp":     {env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}},
		"wrong":    {env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, code: ExitConfig, says: `OTEL_TRACES_EXPORTER: "zipkin" is not allowed`},
		"protocol": {env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, code: ExitConfig, says: "http/protobuf is"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			var cfg demo
			var out lockedBuffer
			src := Source{Args: []string{"--admin=127.0.0.1:0"}, Getenv: func(name string) string { return c.env[name] }, Stdout: &out, Stderr: &out}
			code := execute(program, &cfg, src, nil, nil, func(ctx context.Context, p *Process) error {
				if c.off != (p.Traces == nil) {
					t.Errorf("provider %v", p.Traces)
				}
				if c.says != "" && p.Traces != nil {
					_, span := p.Traces.Tracer("test").Start(ctx, "hello")
					span.End()
				}
				return nil
			})
			if code != c.code || !strings.Contains(out.String(), c.says) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, c.code, c.says, out.String())
			}
		})
	}
}
