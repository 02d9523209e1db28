package plugin

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/frame"
	"github.com/essa-project/essad/sdk/status"
)

// EngineConfig is what an engine plugin is given when it is configured.
type EngineConfig struct {
	Name     string // what the host calls the plugin
	Settings map[string]string
	Logger   hclog.Logger
	CacheDir string // the setting "cache_dir": a folder of its own, or "" for none
	Border   engine.Border
}

// ServeEngine is the main function of an engine plugin. open is called once, with the settings; its error is what the
// daemon reports. ServeEngine returns when the daemon is done with the plugin, after the engine was closed.
func ServeEngine(open func(EngineConfig) (engine.Engine, error), about About) {
	serve(EngineKind, about, engineRequests, engineBuild(open))
}

func engineBuild(open func(EngineConfig) (engine.Engine, error)) build {
	return func(p *served, name string, settings map[string]string) (service, error) {
		b := &hostBorder{peer{who: "host", conn: p.conn}}
		e, err := open(EngineConfig{
			Name: name, Settings: settings, Logger: p.log, CacheDir: settings["cache_dir"], Border: b,
		})
		if err != nil {
			return nil, err
		}
		s := &engineService{engine: e, host: &b.peer, names: newNames()}
		s.handler = newHandler(p.log, s.request)
		return s, nil
	}
}

var engineRequests = []uint8{typeInfo, typePrepare, typeInvoke, typeUpdate}

// engineService answers a host's requests with an engine.
type engineService struct {
	engine engine.Engine
	host   *peer
	names  *names
	*handler
}

func (s *engineService) Close() error { return s.engine.Close() }

func (s *engineService) request(r *frame.Request) error {
	switch r.Type {
	case typeInvoke:
		return s.invoke(r)
	case typePrepare:
		return s.prepare(r)
	case typeUpdate:
		u, err := parseUpdates(r.Body)
		if err == nil {
			err = s.engine.Update(r.Context(), u)
		}
		return settle(r, nil, nil, err)
	}
	i, err := s.engine.Info(r.Context())
	return settle(r, appendEngineInfo(nil, i), nil, err)
}

func (s *engineService) invoke(r *frame.Request) error {
	c, timeout, err := parseInvoke(r.Body, s.names)
	if err != nil {
		return err
	}
	// The arguments stay where they are: the engine has no use for them once the result is on its way.
	defer r.Release()
	if !c.Deadline.IsZero() && !timeout.Before(c.Deadline) {
		timeout = time.Time{} // the engine sees to the call's own deadline, without a timer for each call
	}
	res, err := s.engine.Invoke(within(r, timeout), c)
	if err != nil {
		return err
	}
	b := getScratch()
	defer b.put()
	b.b = appendResult(b.b, res)
	return settle(r, b.b, res.Value, nil)
}

func (s *engineService) prepare(r *frame.Request) error {
	p, err := parsePrepare(r.Body)
	if err != nil {
		return err
	}
	ctx := within(r, p.timeout)
	info, err := s.engine.Prepare(ctx, p.module, func() (io.ReadCloser, error) {
		return &moduleReader{ctx: ctx, host: s.host, source: p.source}, nil
	})
	return settle(r, appendModuleInfo(nil, info), nil, err)
}

// moduleReader reads a module's bytes from the host, piece by piece.
type moduleReader struct {
	ctx    context.Context
	host   *peer
	source uint64
	offset int64
	frame  frame.Frame
	rest   []byte
	end    bool
}

func (m *moduleReader) Read(p []byte) (int, error) {
	for len(m.rest) == 0 {
		if m.end {
			return 0, io.EOF
		}
		if err := m.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func (m *moduleReader) fetch() (err error) {
	m.frame.Release()
	q := putUint(putInt(putUint(nil, 1, m.source), 2, m.offset), 3, maxModuleRead)
	if m.frame, err = m.host.call(m.ctx, 0, typeModuleRead, q, nil); err != nil {
		return fmt.Errorf("read module at %d: %w", m.offset, err)
	}
	if m.rest, m.end, err = parseData(m.frame.Body); err != nil {
		return err
	}
	if len(m.rest) == 0 && !m.end {
		return status.Errorf(status.Internal, "read module at %d: host sent nothing", m.offset)
	}
	m.offset += int64(len(m.rest))
	return nil
}

func (m *moduleReader) Close() error {
	m.frame.Release()
	m.rest, m.end = nil, true
	return nil
}

// hostBorder is the engine.Border of a plugin: it asks the host.
type hostBorder struct{ peer }

var _ engine.Border = (*hostBorder)(nil)

func (b *hostBorder) Load(ctx context.Context, o *engine.Origin, key []byte, wait bool) (engine.Value, error) {
	s := getScratch()
	s.b = putBool(putEachBytes(appendOrigin(s.b, 1, o), 2, key), 3, wait)
	s.b = putTimeout(s.b, 4, ctx)
	f, err := b.call(ctx, 0, typeLoad, s.b, nil)
	s.put()
	if err != nil {
		return engine.Value{}, err
	}
	v, err := parseValue(f.Body)
	v.Data = keep(&f, v.Data)
	return v, err
}

func (b *hostBorder) Merge(ctx context.Context, o *engine.Origin, key, value []byte) (uint64, error) {
	s := getScratch()
	s.b = putTimeout(putEachBytes(appendOrigin(s.b, 1, o), 2, key), 3, ctx)
	s.b = putTail(s.b, 15, len(value))
	f, err := b.call(ctx, 0, typeMerge, s.b, value)
	s.put()
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return parseNumber(f.Body)
}

func (b *hostBorder) Call(ctx context.Context, o *engine.Origin, c *engine.Call) (*engine.Result, error) {
	s := getScratch()
	s.b = appendOrigin(s.b, 1, o)
	var start int
	s.b, start = openMessage(s.b, 15)
	s.b = closeMessage(appendInvoke(s.b, c, deadlineOf(ctx)), start, len(c.Args))
	f, err := b.call(ctx, 0, typeCall, s.b, c.Args)
	s.put()
	if err != nil {
		return nil, err
	}
	return keepResult(&f)
}

func (b *hostBorder) Output(ctx context.Context, o *engine.Origin, stream engine.Stream, p []byte) error {
	s := getScratch()
	defer s.put()
	s.b = putTimeout(putUint(appendOrigin(s.b, 1, o), 2, uint64(stream)), 3, ctx)
	s.b = putTail(s.b, 15, len(p))
	return b.do(ctx, typeOutput, s.b, p)
}

func (b *hostBorder) Input(ctx context.Context, o *engine.Origin, limit int) ([]byte, error) {
	s := getScratch()
	s.b = putTimeout(putInt(appendOrigin(s.b, 1, o), 2, int64(limit)), 3, ctx)
	f, err := b.call(ctx, 0, typeInput, s.b, nil)
	s.put()
	if err != nil {
		return nil, err
	}
	data, end, err := parseData(f.Body)
	data = keep(&f, data)
	if err == nil && end {
		err = io.EOF
	}
	return data, err
}
