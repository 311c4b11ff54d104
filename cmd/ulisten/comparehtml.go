package main

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/ulisten/ulisten/listenq/sim"
)

//go:embed page
var pageFiles embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"figureStyle": styleSheet("page/figure.css"),
	"pageStyle":   styleSheet("page/report.css"),
}).ParseFS(pageFiles, "page/*.tmpl"))

// styleSheet makes a template function of one of our own files.
func styleSheet(name string) func() (template.CSS, error) {
	return func() (template.CSS, error) {
		text, err := pageFiles.ReadFile(name)
		return template.CSS(text), err
	}
}

// reportPage is what the report shows.
type reportPage struct {
	Platforms string
	Words     string
	Table     *compareTable
	Legend    []figureKey
	Servers   []reportSection
	Guesses   []compareGuess
}

// reportSection is: one platform of the server.
type reportSection struct {
	Name, Title string
	Figures     []*figure
	Refuses     string // with this error
	Guesses     []compareGuess
}

// writeHTML writes a page that needs nothing else.
func (c *comparison) writeHTML(w io.Writer) error {
	p := reportPage{Words: c.Scenario.words, Table: c.table(), Legend: figureKeys, Guesses: c.guesses()}
	ends := map[string]time.Duration{} // one time axis for each platform of the clients
	for _, r := range c.Runs {
		if r.result != nil {
			ends[r.Client] = max(ends[r.Client], r.busyUntil())
		}
	}
	for _, r := range c.Runs {
		if n := len(p.Servers); n == 0 || p.Servers[n-1].Name != r.Server {
			p.Servers = append(p.Servers, reportSection{Name: r.Server, Title: r.ServerTitle})
		}
		s := &p.Servers[len(p.Servers)-1]
		for _, g := range r.Guesses {
			if !slices.Contains(s.Guesses, g) {
				s.Guesses = append(s.Guesses, g)
			}
		}
		if r.ListenError != "" {
			s.Refuses = r.ListenError
			continue
		}
		if n := len(s.Figures); n > 0 && s.Figures[n-1].Run.alike(r) {
			s.Figures[n-1].Clients += ", " + r.ClientTitle
			continue
		}
		s.Figures = append(s.Figures, figureOf(r, ends[r.Client], false))
	}
	p.Platforms = count(len(p.Servers), "platform")
	return pages.ExecuteTemplate(w, "report.html.tmpl", p)
}

// alike reports whether the clients of two runs lived through the same, whatever
// their errors are called, so that the pictures are the same too.
func (r *compareRun) alike(other *compareRun) bool {
	same := func(a, b sim.Client) bool {
		a.Error, b.Error = "", ""
		return reflect.DeepEqual(a, b)
	}
	return slices.EqualFunc(r.result.Clients, other.result.Clients, same) && slices.Equal(r.result.Depths, other.result.Depths)
}

// writeSVG writes the picture of a run, which stands alone.
func (r *compareRun) writeSVG(w io.Writer) error {
	if r.result == nil {
		return fmt.Errorf("no picture of %s: its listen(2) fails with %s", r.Server, r.ListenError)
	}
	return pages.ExecuteTemplate(w, "figure.svg.tmpl", figureOf(r, r.busyUntil(), true))
}
