package main

import (
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// backendTimeout bounds how long the backend of forward may take to connect.
const backendTimeout = 5 * time.Second

// serveApp runs an application until its listener is closed. Connections may go
// on after that; finish tells it to end those that wait for nothing.
func (s *service) serveApp(finish <-chan struct{}, logger *slog.Logger) {
	switch s.spec.app.kind {
	case "hold":
		<-s.listener.done
	case "http":
		s.serveHTTP(finish, logger)
	case "discard":
		s.acceptAll(logger, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	case "forward":
		s.acceptAll(logger, func(c net.Conn) { forward(c, s.spec.app.target, logger) })
	default:
		s.acceptAll(logger, func(c net.Conn) { _, _ = io.Copy(c, c) })
	}
}

// acceptAll hands each connection to handle, on a goroutine of its own, and
// closes it afterwards.
func (s *service) acceptAll(logger *slog.Logger, handle func(net.Conn)) {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if errors.Is(err, syscall.ECONNABORTED) {
			continue // the client is gone, and the platform says so
		}
		if err != nil {
			logger.Error("accept failed, the application ends", "listener", s.address(), "err", err)
			return
		}
		go func() {
			defer conn.Close()
			handle(conn)
		}()
	}
}

// lingerer is a connection whose close can be made a RST.
type lingerer interface{ SetLinger(int) error }

// forward joins a client with a backend on the host. A backend that is down, or
// breaks off, gives the client a RST.
func forward(client net.Conn, target string, logger *slog.Logger) {
	reset := func(what string, why error) {
		logger.Warn(what+", client reset", "client", client.RemoteAddr(), "backend", target, "err", why)
		resetOnClose(client)
	}
	backend, err := net.DialTimeout("tcp", target, backendTimeout)
	if err != nil {
		reset("backend is down", err)
		return
	}
	defer backend.Close()
	var broken error // what the backend's side ended with
	done := make(chan struct{})
	go func() {
		defer close(done)
		readErr, writeErr := relay(client, backend)
		if readErr != nil && !errors.Is(readErr, net.ErrClosed) {
			broken = readErr
		}
		if readErr == nil && writeErr == nil {
			closeWrite(client)
			return
		}
		// Nothing will come of what the client still sends.
		_ = client.SetReadDeadline(time.Now())
	}()
	if readErr, writeErr := relay(backend, client); readErr == nil && writeErr == nil {
		closeWrite(backend)
	} else {
		resetOnClose(backend)
		if readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded) {
			backend.Close() // the client is gone
		}
	}
	<-done
	if broken != nil {
		reset("backend broke off", broken)
	}
}

// relay copies until the end of src and says which side failed.
func relay(dst io.Writer, src io.Reader) (readErr, writeErr error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, writeErr = dst.Write(buf[:n]); writeErr != nil {
				return nil, writeErr
			}
		}
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}

func resetOnClose(c net.Conn) {
	if l, ok := c.(lingerer); ok {
		_ = l.SetLinger(0)
	}
}

func closeWrite(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
}

// page shows a listener its own queue.
var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<title>{{.Address}}</title>
<h1>{{.Address}}</h1>
<table>
<tr><td>accept queue<td>{{.AcceptQueue}} of {{.Capacity}}
<tr><td>SYN queue<td>{{.SYNQueue}}{{if ge .SYNCapacity 0}} of {{.SYNCapacity}}{{end}}
<tr><td>backlog<td>{{.Backlog}}, which became {{.Limit}}
<tr><td>profile<td>{{.Profile}}
<tr><td>policy<td>{{.Policy}}
{{range .Ticked}}<tr><td>{{.Name}}<td>{{.Value}}
{{end}}</table>
<p><a href="/json">JSON</a>
`))

// serveHTTP serves the page.
func (s *service) serveHTTP(finish <-chan struct{}, logger *slog.Logger) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// An error is the client's: it has gone away.
		_ = page.Execute(w, s.info())
	})
	mux.HandleFunc("GET /json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.info())
	})
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	go func() {
		<-finish
		// It closes idle connections and lets the others end by themselves;
		// whoever closed finish waits for them.
		_ = server.Shutdown(context.Background())
	}()
	err := server.Serve(s.listener)
	if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		logger.Error("http ends", "listener", s.address(), "err", err)
	}
}
