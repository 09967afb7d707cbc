package page

import (
	"bytes"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/parley-chat/parley/deploy/loadgen"
)

// Point is a point of a line.
type Point struct{ X, Y float64 }

// Line is one line of a plot.
type Line struct {
	Name   string
	Points []Point
	Dots   bool // mark the points
}

// Plot is a plot of lines.
type Plot struct {
	Title, X, Y string
	LogX, LogY  bool
	Lines       []Line
}

const width, height = 9 * vg.Inch, 3.2 * vg.Inch

// colors are those of Okabe and Ito, which readers who see colors differently tell apart, too.
var colors = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
	color.RGBA{0x00, 0x00, 0x00, 0xff},
}

func (p *Plot) empty() bool { return len(p.Lines) == 0 }

// add adds a line over the seconds of a timeline, unless it is nothing but 0.
func (p *Plot) add(name string, timeline []loadgen.Second, of func(loadgen.Second) float64) {
	line, any := Line{Name: name}, false
	for i, s := range timeline {
		y := of(s)
		any = any || y > 0
		line.Points = append(line.Points, Point{float64(i), y})
	}
	if any {
		p.Lines = append(p.Lines, line)
	}
}

// draw makes the library's plot of it. On a logarithmic axis what is not above 0
// is left out.
func (p *Plot) draw() (*plot.Plot, error) {
	out := plot.New()
	out.Title.Text, out.X.Label.Text, out.Y.Label.Text = p.Title, p.X, p.Y
	out.BackgroundColor = color.White
	out.Legend.Top, out.Legend.Left = true, true
	out.Add(plotter.NewGrid())
	if p.LogX {
		out.X.Scale, out.X.Tick.Marker = plot.LogScale{}, decades{}
	}
	if p.LogY {
		out.Y.Scale, out.Y.Tick.Marker = plot.LogScale{}, decades{}
	} else {
		out.Y.Min = 0
	}
	for i, l := range p.Lines {
		points := make(plotter.XYs, 0, len(l.Points))
		for _, at := range l.Points {
			if (p.LogX && at.X <= 0) || (p.LogY && at.Y <= 0) {
				continue
			}
			points = append(points, plotter.XY{X: at.X, Y: at.Y})
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = colors[i%len(colors)], vg.Points(1.5)
		out.Add(line)
		out.Legend.Add(l.Name, line)
		if l.Dots {
			dots.Color, dots.Shape = line.Color, draw.CircleGlyph{}
			out.Add(dots)
		}
	}
	if p.LogY { // the scale wants a range above 0 that is one
		out.Y.Min, out.Y.Max = positive(out.Y.Min, out.Y.Max)
	}
	if p.LogX {
		out.X.Min, out.X.Max = positive(out.X.Min, out.X.Max)
	}
	p.makeRoom(out)
	return out, nil
}

// makeRoom puts the legend above the lines: each name takes about a twelfth of the height.
func (p *Plot) makeRoom(out *plot.Plot) {
	free := min(float64(len(p.Lines))/12, 0.5)
	if p.LogY {
		out.Y.Max *= math.Pow(out.Y.Max/out.Y.Min, free/(1-free))
	} else {
		out.Y.Max += (out.Y.Max - out.Y.Min) * free / (1 - free)
	}
}

func positive(low, high float64) (float64, float64) {
	if math.IsInf(low, 0) || low <= 0 {
		low = 0.1
	}
	if high <= low {
		high = low * 10
	}
	return low, high
}

// decades marks 1, 2 and 5 of each power of ten; of more than three powers it names the ones.
type decades struct{}

func (decades) Ticks(low, high float64) []plot.Tick {
	var out []plot.Tick
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for _, n := range []float64{1, 2, 5} {
			v := n * math.Pow(10, power)
			if v < low*0.999 || v > high*1.001 {
				continue
			}
			tick := plot.Tick{Value: v}
			if n == 1 || high < 1000*low {
				tick.Label = strconv.FormatFloat(v, 'f', -1, 64)
			}
			out = append(out, tick)
		}
	}
	return out
}

// SVG is the plot as an SVG document.
func (p *Plot) SVG() ([]byte, error) { return Grid([]Plot{*p}) }

// Grid is several plots below each other in one SVG document.
func Grid(plots []Plot) ([]byte, error) {
	canvas := vgsvg.New(width, height*vg.Length(len(plots)))
	all := draw.New(canvas)
	for i := range plots {
		p, err := plots[i].draw()
		if err != nil {
			return nil, err
		}
		bottom := height * vg.Length(len(plots)-1-i)
		p.Draw(draw.Canvas{Canvas: all.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: 0, Y: bottom}, Max: vg.Point{X: width - vg.Points(24), Y: bottom + height - vg.Points(6)},
		}})
	}
	var out bytes.Buffer
	_, err := canvas.WriteTo(&out)
	return out.Bytes(), err
}
