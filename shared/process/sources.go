package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

const (
	fileSuffix    = "-file"
	maxConfigFile = 1 << 20
)

// layer says how strong a value's source is.
type layer int

const (
	fromDefault layer = iota
	fromFile
	fromEnv
	fromFlag
)

// origin is where a setting's value came from.
type origin struct {
	layer layer
	place string
}

// sources is what stands behind the flags: the environment, and under it the
// file. kong asks it for every flag that was not on the command line. (kong's
// own env tag is not used: it would let the file win.)
type sources struct {
	getenv  func(string) string
	path    string
	file    map[string]*yaml.Node
	flags   []*kong.Flag
	origins map[string]origin
}

// newSources reads the file, if one is named, and joins the parser.
func newSources(k *kong.Kong, src Source) (*sources, error) {
	s := &sources{getenv: src.Getenv, flags: k.Model.Flags, origins: map[string]origin{}}
	s.path = configPath(k, src)
	if s.path != "" {
		if err := s.readFile(); err != nil {
			return nil, err
		}
	}
	return s, kong.Resolvers(s).Apply(k)
}

func configPath(k *kong.Kong, src Source) string {
	if traced, err := kong.Trace(k, src.Args); err == nil {
		for _, p := range traced.Path {
			if p.Flag != nil && p.Flag.Name == "config" {
				return traced.Value(p).String()
			}
		}
	}
	return src.Getenv(envName("config"))
}

func (s *sources) readFile() error {
	setting := describe(envName("config"))
	f, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	if len(content) > maxConfigFile {
		return fmt.Errorf("%s: %s is longer than %d bytes", setting, s.path, maxConfigFile)
	}
	known := make(map[string]bool, len(s.flags))
	for _, flag := range s.flags {
		known[flag.Name] = !loaderOnly(flag.Name) && flag.Name != "config"
	}
	if s.file, err = parseFile(content, known); err != nil {
		return fmt.Errorf("%s: %s: %w", setting, s.path, err)
	}
	return nil
}

// parseFile returns the values of a YAML document by flag name. A key is a
// flag's name, with hyphens or underscores; anything unknown, doubled or nested
// is an error.
func parseFile(content []byte, known map[string]bool) (map[string]*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("only one YAML document is allowed")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: a file of settings is lines of the form name: value", root.Line)
	}
	values := make(map[string]*yaml.Node, len(root.Content)/2)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		name := strings.ReplaceAll(key.Value, "_", "-")
		if !known[name] {
			return nil, fmt.Errorf("line %d: unknown key %q; --help lists the settings", key.Line, key.Value)
		}
		if values[name] != nil {
			return nil, fmt.Errorf("line %d: key %q is given twice", key.Line, key.Value)
		}
		values[name] = value
	}
	return values, nil
}

// Validate is part of kong.Resolver; the file was checked when it was read.
func (s *sources) Validate(*kong.Application) error { return nil }

// Resolve finds the value of a flag that was not on the command line.
func (s *sources) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if loaderOnly(flag.Name) {
		return nil, nil
	}
	if value := s.getenv(envName(flag.Name)); value != "" {
		s.origins[flag.Name] = origin{layer: fromEnv}
		return value, nil
	}
	node := s.file[flag.Name]
	if node == nil {
		return nil, nil
	}
	place := fmt.Sprintf("%s line %d", s.path, node.Line)
	value, err := plain(node)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, place)
	}
	if value == "" {
		return nil, nil
	}
	s.origins[flag.Name] = origin{layer: fromFile, place: place}
	return value, nil
}

// plain is a YAML value as it would be written on the command line; a list
// becomes its items with commas.
func plain(node *yaml.Node) (string, error) {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return "", nil
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind != yaml.SequenceNode:
		return "", errors.New("the value must be a text, a number or a list of them")
	}
	items := make([]string, len(node.Content))
	for i, item := range node.Content {
		if item.Kind != yaml.ScalarNode {
			return "", errors.New("the items of a list must be texts or numbers")
		}
		items[i] = strings.ReplaceAll(item.Value, ",", `\,`)
	}
	return strings.Join(items, ","), nil
}

// finish reads the files of secrets and checks bounds, after kong has given
// every flag its value.
func (s *sources) finish(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		if p.Flag != nil && !p.Resolved {
			s.origins[p.Flag.Name] = origin{layer: fromFlag}
		}
	}
	for _, flag := range parsed.Model.Flags {
		if name, ok := strings.CutSuffix(flag.Name, fileSuffix); ok {
			if err := s.readSecretInto(flag, name); err != nil {
				return err
			}
		}
	}
	for _, flag := range parsed.Model.Flags {
		if err := checkBounds(flag.Value); err != nil {
			return fmt.Errorf("--%s: %w", flag.Name, err)
		}
	}
	return nil
}

// readSecretInto reads the secret that a …-file flag names, unless the secret
// itself came from a stronger source. Both from one source is a mistake that
// nobody should have to guess about.
func (s *sources) readSecretInto(file *kong.Flag, name string) error {
	path := file.Target.String()
	for _, flag := range s.flags {
		if flag.Name != name || !isSecret(flag.Target.Type()) || path == "" {
			continue
		}
		mine, other := s.origins[file.Name].layer, s.origins[name].layer
		if mine == other {
			return fmt.Errorf("--%s: %s is given as well; give one of them", file.Name, describe(envName(name)))
		}
		if mine < other {
			return nil
		}
		value, err := readSecret(path)
		if err != nil {
			return fmt.Errorf("--%s: %w", file.Name, err)
		}
		flag.Target.SetString(value)
	}
	return nil
}
