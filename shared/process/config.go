package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// ErrShown is what Load returns when it was asked for --help or --version and
// has written it: there is nothing left to do.
var ErrShown = errors.New("help or version was shown")

// Source is where settings come from and where help goes.
type Source struct {
	Args   []string            // without the program's name
	Getenv func(string) string // an empty variable counts as not set
	Stdout io.Writer
	Stderr io.Writer
}

// builtin are the flags of the loader itself.
type builtin struct {
	Config      string `help:"YAML file with settings, keys named like the flags." placeholder:"FILE"`
	Healthcheck string `default:"" enum:",live,ready" help:"Ask the process that runs here with these settings whether it is live or ready, and exit with 0 or 1." placeholder:"live|ready"`
	Version     bool   `help:"Show the version."`
}

// Load fills cfg: a flag wins over the environment, that over the file named by
// --config or PARLEY_CONFIG, that over defaults. It then checks every setting,
// and calls Validate() error on cfg and on the structs embedded in it, where
// there is one. The error of a bad setting is a *ConfigError that names it. The
// value returned is the settings in effect, secrets redacted, for the log.
func Load(prog Program, cfg Config, src Source) (slog.Value, error) {
	return read(prog, cfg, new(builtin), src)
}

func read(prog Program, cfg Config, own *builtin, src Source) (slog.Value, error) {
	parser, err := kong.New(own,
		kong.Name(prog.Name),
		kong.Description(prog.Description+"\n\nFlags win over environment variables, those over the file, that over defaults."),
		kong.Writers(src.Stdout, src.Stderr),
		kong.Vars{"hostname": hostname()},
		kong.Embed(cfg),
		kong.PostBuild(func(k *kong.Kong) error { return extend(k, prog) }),
		kong.ValueFormatter(formatHelp))
	if err != nil {
		return slog.Value{}, fmt.Errorf("declare settings of %s: %w", prog.Name, err)
	}
	if shown, err := show(parser, prog, src); shown || err != nil {
		return slog.Value{}, errors.Join(err, ErrShown)
	}
	in, err := newSources(parser, src)
	if err != nil {
		return slog.Value{}, &ConfigError{Err: err}
	}
	parsed, err := parser.Parse(src.Args)
	if err != nil {
		return slog.Value{}, &ConfigError{Err: in.explain(err)}
	}
	if err := in.finish(parsed); err != nil {
		return slog.Value{}, &ConfigError{Err: in.explain(err)}
	}
	if err := cfg.common().complete(prog.Memory); err != nil {
		return slog.Value{}, err
	}
	if err := validate(reflect.ValueOf(cfg).Elem()); err != nil {
		return slog.Value{}, asConfigError(err)
	}
	return inEffect(parser), nil
}

// extend puts the program's own defaults in place and gives every secret its
// second flag.
func extend(k *kong.Kong, prog Program) error {
	flags := k.Model.Flags
	for name, value := range prog.Defaults {
		i := slices.IndexFunc(flags, func(f *kong.Flag) bool { return f.Name == name })
		if i < 0 {
			return fmt.Errorf("a default for --%s, which is no setting", name)
		}
		flags[i].Default, flags[i].HasDefault = value, true
		flags[i].Tag.Default, flags[i].Tag.HasDefault = value, true
	}
	k.Model.Flags = nil
	for _, flag := range flags {
		k.Model.Flags = append(k.Model.Flags, flag)
		if isSecret(flag.Target.Type()) {
			k.Model.Flags = append(k.Model.Flags, fileFlag(flag.Name))
		}
	}
	return nil
}

// fileFlag is the second flag of a secret; sources.finish reads what it names.
func fileFlag(secret string) *kong.Flag {
	var path string
	help := "File to read --" + secret + " from."
	flag := &kong.Flag{PlaceHolder: "FILE", Value: &kong.Value{
		Name:         secret + fileSuffix,
		Help:         help,
		OrigHelp:     help,
		Target:       reflect.ValueOf(&path).Elem(),
		DefaultValue: reflect.ValueOf(""),
		Tag:          &kong.Tag{},
		Mapper: kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
			return ctx.Scan.PopValueInto("file", target.Addr().Interface())
		}),
	}}
	flag.Flag = flag
	return flag
}

// show answers --help and --version before anything else is looked at: they
// must work while a setting is wrong.
func show(k *kong.Kong, prog Program, src Source) (bool, error) {
	switch {
	case slices.Contains(src.Args, "--version"):
		_, err := fmt.Fprintln(src.Stdout, prog.Name, prog.version())
		return true, err
	case slices.Contains(src.Args, "--help"), slices.Contains(src.Args, "-h"):
		ctx, err := kong.Trace(k, nil)
		if err != nil {
			return true, err
		}
		return true, ctx.PrintUsage(false)
	}
	return false, nil
}

// formatHelp is a flag's line of help: what it is for, what is allowed, and the
// environment variable.
func formatHelp(v *kong.Value) string {
	help := v.Help
	if v.Flag == nil || loaderOnly(v.Name) {
		return help
	}
	if allowed := allowed(v); allowed != "" {
		help += " Allowed: " + allowed + "."
	}
	return help + " [" + envName(v.Name) + "]"
}

// loaderOnly names the flags that ask for something else than a start; they are on the
// command line or nowhere.
func loaderOnly(flag string) bool {
	return flag == "help" || flag == "version" || flag == "healthcheck"
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "PARLEY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// describe names a setting both ways: as variable and as flag.
func describe(env string) string {
	flag, ok := strings.CutPrefix(env, "PARLEY_")
	if !ok {
		return env
	}
	return env + " (--" + strings.ToLower(strings.ReplaceAll(flag, "_", "-")) + ")"
}

var leadingFlag = regexp.MustCompile(`^--([a-z0-9-]+)`)

// explain rewrites an error that begins with a flag so that it names the
// environment variable, too, and says where the value came from.
func (s *sources) explain(err error) error {
	text := err.Error()
	m := leadingFlag.FindStringSubmatch(text)
	if m == nil || loaderOnly(m[1]) {
		return err
	}
	text = describe(envName(m[1])) + text[len(m[0]):]
	if from := s.origins[m[1]]; from.layer == fromFile {
		text += " (" + from.place + ")"
	}
	return errors.New(text)
}

// validate calls Validate on v and on the structs embedded in it, innermost
// first.
func validate(v reflect.Value) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		_, embed := field.Tag.Lookup("embed")
		if field.Type.Kind() == reflect.Struct && (field.Anonymous || embed) {
			if err := validate(v.Field(i)); err != nil {
				return err
			}
		}
	}
	if !v.Addr().CanInterface() {
		return nil
	}
	if c, ok := v.Addr().Interface().(interface{ Validate() error }); ok {
		return c.Validate()
	}
	return nil
}

func asConfigError(err error) error {
	var bad *ConfigError
	if errors.As(err, &bad) {
		return err
	}
	return &ConfigError{Err: err}
}

// inEffect lists the settings for the start-up line of the log; an unset secret
// and its file are left out.
func inEffect(k *kong.Kong) slog.Value {
	var attrs []slog.Attr
	for _, flag := range k.Model.Flags {
		if loaderOnly(flag.Name) || flag.Target.IsZero() {
			continue
		}
		attrs = append(attrs, slog.String(flag.Name, fmt.Sprint(flag.Target.Interface())))
	}
	return slog.GroupValue(attrs...)
}
