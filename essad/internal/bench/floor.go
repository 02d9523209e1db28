package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// The floor of a call is a chain of bare processes with nothing in them but sockets and the engine: client -> forwarder ->
// engine, frames of length and id, a goroutine per request, writes combined while one is under way.

// mux is one connection of the chain.
type mux struct {
	c  net.Conn
	mu sync.Mutex
	// writing and the two buffers are the combining writer.
	writing    bool
	buf, spare []byte

	pend struct {
		sync.Mutex
		slots []*pending
		free  []uint64
	}
}

type pending struct {
	resp []byte
	done chan struct{}
}

func (m *mux) send(id uint64, p []byte) {
	m.mu.Lock()
	m.buf = binary.LittleEndian.AppendUint32(m.buf, uint32(len(p)))
	m.buf = binary.LittleEndian.AppendUint64(m.buf, id)
	m.buf = append(m.buf, p...)
	if m.writing {
		m.mu.Unlock()
		return
	}
	m.writing = true
	for len(m.buf) > 0 {
		b := m.buf
		m.buf = m.spare[:0]
		m.mu.Unlock()
		_, _ = m.c.Write(b) // the reader sees the end
		m.mu.Lock()
		m.spare = b
	}
	m.writing = false
	m.mu.Unlock()
}

func (m *mux) call(p []byte) []byte {
	m.pend.Lock()
	var id uint64
	if n := len(m.pend.free); n > 0 {
		id = m.pend.free[n-1]
		m.pend.free = m.pend.free[:n-1]
	} else {
		id = uint64(len(m.pend.slots))
		m.pend.slots = append(m.pend.slots, &pending{done: make(chan struct{}, 1)})
	}
	s := m.pend.slots[id]
	m.pend.Unlock()
	m.send(id, p)
	<-s.done
	r := s.resp
	m.pend.Lock()
	m.pend.free = append(m.pend.free, id)
	m.pend.Unlock()
	return r
}

// read reads frames until the end and hands each to f.
func (m *mux) read(f func(id uint64, p []byte)) {
	r := bufio.NewReaderSize(m.c, 256<<10)
	var h [12]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return
		}
		p := make([]byte, binary.LittleEndian.Uint32(h[:]))
		if _, err := io.ReadFull(r, p); err != nil {
			return
		}
		f(binary.LittleEndian.Uint64(h[4:]), p)
	}
}

func (m *mux) readReplies() {
	m.read(func(id uint64, p []byte) {
		m.pend.Lock()
		s := m.pend.slots[id]
		m.pend.Unlock()
		s.resp = p
		s.done <- struct{}{}
	})
}

// serve answers each request on a goroutine of its own.
func serve(network, address string, h func([]byte) []byte) error {
	ln, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		m := &mux{c: c}
		go m.read(func(id uint64, p []byte) { go func() { m.send(id, h(p)) }() })
	}
}

func dialMux(network, address string) (*mux, error) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial(network, address)
		if err == nil {
			m := &mux{c: c}
			go m.readReplies()
			return m, nil
		}
		if time.Now().After(end) {
			return nil, err
		}
	}
}

// floorProcess is what this program does as a part of a floor. It ends when its standard input does.
func floorProcess(args []string) error {
	// The terminal interrupts all of its group at once, and who measures could not finish with those that are gone.
	signal.Ignore(os.Interrupt)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	switch args[0] {
	case "echo":
		return serve("unix", args[1], func(p []byte) []byte { return p })
	case "echo-tcp":
		return serve("tcp", args[1], func(p []byte) []byte { return p })
	case "rawlog":
		log, err := newRawLog(args[2])
		if err != nil {
			return err
		}
		defer log.close()
		return serve("unix", args[1], func(p []byte) []byte {
			if err := log.put(p); err != nil {
				return []byte(err.Error())
			}
			return nil
		})
	case "zenoh-echo":
		return zenohEcho(args[1], args[2])
	case "zenoh-hub":
		return zenohHub(args[1])
	case "nats-echo":
		return natsEcho(args[1])
	case "forward":
		to, err := dialMux("unix", args[2])
		if err != nil {
			return err
		}
		return serve("unix", args[1], to.call)
	case "engine":
		e, err := newBareEngine(args[2])
		if err != nil {
			return err
		}
		return serve("unix", args[1], func(p []byte) []byte { return e.call(args[3], p) })
	}
	return fmt.Errorf("unknown floor %q", args[0])
}

// floorChain starts the processes of a chain and connects to its first.
type floorChain struct {
	mux   *mux
	procs []*exec.Cmd
	pipes []io.Closer
}

var floorSeq int

func (b *bench) startFloor(wasm, export string) (*floorChain, error) {
	floorSeq++
	sock := func(name string) string {
		return filepath.Join(os.TempDir(), "essad-bench-"+strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(floorSeq)+name)
	}
	c := &floorChain{}
	for _, args := range [][]string{
		{"floor", "engine", sock("e"), wasm, export},
		{"floor", "forward", sock("f"), sock("e")},
	} {
		if err := c.start(args...); err != nil {
			c.close()
			return nil, err
		}
	}
	m, err := dialMux("unix", sock("f"))
	if err != nil {
		c.close()
		return nil, err
	}
	c.mux = m
	return c, nil
}

func (c *floorChain) start(args ...string) error {
	cmd := exec.Command(os.Args[0], args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	c.procs, c.pipes = append(c.procs, cmd), append(c.pipes, in)
	return nil
}

func (c *floorChain) close() {
	for i, p := range c.procs {
		_ = c.pipes[i].Close()
		_ = p.Wait()
	}
}
