package monitoring

import (
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"
)

func TestX(t *testing.T) {
	_ = yaml.Unmarshal
	_ = parser.ParseExpr
}
