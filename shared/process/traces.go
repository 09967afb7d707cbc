package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracesShare is how many traces are kept where OTEL_TRACES_SAMPLER does not say:
// a busy edge begins thousands a second.
const tracesShare = 0.01

// tracesTimeout is how long the last spans may take to be exported at the end.
const tracesTimeout = 3 * time.Second

// newTraces is the tracer provider that the standard variables ask for:
// OTEL_TRACES_EXPORTER is none (also when it is not set), otlp (over HTTP, with
// OTEL_EXPORTER_OTLP_ENDPOINT and its like) or console; OTEL_SDK_DISABLED=true wins;
// OTEL_TRACES_SAMPLER and …_ARG (not set: one trace of 100), OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and the
// batching's OTEL_BSP_… are as OpenTelemetry says. nil: traces are off. end flushes.
func newTraces(ctx context.Context, program, node, version string, src Source) (_ trace.TracerProvider, end func() error, err error) {
	none := func() error { return nil }
	if src.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, none, nil
	}
	exporter, err := newExporter(ctx, src)
	if exporter == nil || err != nil {
		return nil, none, err
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "parley-"+program), attribute.String("service.namespace", "parley"),
			attribute.String("service.instance.id", node), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, none, BadSetting("OTEL_RESOURCE_ATTRIBUTES", "%v", err)
	}
	options := []sdk.TracerProviderOption{sdk.WithBatcher(exporter), sdk.WithResource(about)}
	if src.Getenv("OTEL_TRACES_SAMPLER") == "" {
		options = append(options, sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(tracesShare))))
	}
	provider := sdk.NewTracerProvider(options...)
	return provider, func() error {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesTimeout)
		defer cancel()
		if err := provider.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("export the last spans: %w", err)
		}
		return nil
	}, nil
}

func newExporter(ctx context.Context, src Source) (sdk.SpanExporter, error) {
	switch kind := cmp.Or(src.Getenv("OTEL_TRACES_EXPORTER"), "none"); kind {
	case "none":
		return nil, nil
	case "console":
		return stdouttrace.New(stdouttrace.WithWriter(src.Stderr))
	case "otlp":
		protocol := cmp.Or(src.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), src.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
		if protocol != "http/protobuf" {
			return nil, BadSetting("OTEL_EXPORTER_OTLP_PROTOCOL", "%q is not built in: http/protobuf is", protocol)
		}
		return otlptracehttp.New(ctx)
	default:
		return nil, BadSetting("OTEL_TRACES_EXPORTER", "%q is not allowed: it must be none, otlp or console", kind)
	}
}
