package link

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/essa-project/essad/sdk/zenoh/wire"
)

// minLease is the shortest lease that is taken at its word: one that is shorter could not be kept by anybody.
const minLease = 200 * time.Millisecond

// patchMarkers is the patch level from which fragments carry First and Drop.
const patchMarkers = 1

// ErrSelf is why a dial fails that reaches this very node.
var ErrSelf = errors.New("that is this node itself")

// agreed is what a handshake settled.
type agreed struct {
	id           wire.ID
	theirs, ours wire.WhatAmI
	batch        int    // bytes, the two length bytes included
	mask         uint32 // of sequence numbers
	qos, patch   bool
	lease        time.Duration // theirs
	ownSN        uint32        // the first one we send, on every lane
	theirSN      uint32        // the first one they send
	user         string        // who they proved to be
}

// matches reports whether a link with the handshake b can be one of the transport whose first link had a.
func (a *agreed) matches(b *agreed) bool {
	return a.theirs == b.theirs && a.ours == b.ours && a.mask == b.mask && a.qos == b.qos && a.patch == b.patch &&
		a.ownSN == b.ownSN && a.theirSN == b.theirSN && (b.user == "" || a.user == "" || a.user == b.user)
}

// A ClosedError is the peer's CLOSE.
type ClosedError struct{ Reason wire.Reason }

// Error returns the reason.
func (e *ClosedError) Error() string { return "closed by the peer: " + e.Reason.String() }

// Is reports whether e means the same as target.
func (e *ClosedError) Is(target error) bool {
	return target == ErrSelf && e.Reason == wire.ReasonConnectionToSelf
}

// refusal is why we end a handshake or a link, and what we tell the peer.
type refusal struct {
	reason wire.Reason
	err    error
}

func (r *refusal) Error() string { return r.err.Error() + " (" + r.reason.String() + ")" }
func (r *refusal) Unwrap() error { return r.err }

func refuse(reason wire.Reason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}

// snMask is the mask of sequence numbers for a resolution's two bits: they take one, two or four bytes.
func snMask(bits uint8) uint32 {
	return [...]uint32{1<<7 - 1, 1<<14 - 1, 1<<28 - 1, 1<<28 - 1}[bits&3]
}

// resolution is what to offer: 32 bits at most for everything.
func (o *Options) resolution() uint8 {
	switch o.Resolution {
	case 8:
		return 0x08
	case 16:
		return 0x09
	}
	return wire.DefaultResolution
}

func (o *Options) patchLevel() uint64 {
	if o.NoPatch {
		return 0
	}
	return patchMarkers
}

// decodeHandshake decodes a message of kind k from the front of a batch. A CLOSE in its place is an error.
func decodeHandshake[T any](batch []byte, k wire.TransportKind, decode func([]byte, *T) (int, error), m *T) (n int, err error) {
	if len(batch) == 0 {
		return 0, refuse(wire.ReasonInvalid, "empty batch in a handshake")
	}
	if wire.IsNetwork(batch[0]) || wire.TransportID(batch[0]) != k {
		var c wire.Close
		if wire.TransportID(batch[0]) == wire.CloseKind {
			if _, err := wire.DecodeClose(batch, &c); err == nil {
				return 0, &ClosedError{c.Reason}
			}
		}
		return 0, refuse(wire.ReasonInvalid, "unexpected message %#02x in a handshake", batch[0])
	}
	if k == wire.InitKind && len(batch) > 1 && batch[1] != wire.ProtocolVersion {
		return 0, refuse(wire.ReasonInvalid, "protocol version %d, want %d", batch[1], wire.ProtocolVersion)
	}
	if n, err = decode(batch, m); err != nil {
		return 0, refuse(wire.ReasonInvalid, "handshake: %w", err)
	}
	return n, nil
}

// opener is the handshake of who dials, without the I/O: start, then step with what comes until it is done.
type opener struct {
	o      *Options
	expect wire.ID            // zero: anybody
	known  func(wire.ID) bool // whether a link to that node is there; nil: no
	opened bool               // OpenSyn is sent
	agreed
}

// start returns the InitSyn.
func (h *opener) start() []byte {
	m := wire.Init{
		WhatAmI: h.o.WhatAmI, ID: h.o.ID, Resolution: h.o.resolution(), BatchSize: h.o.BatchSize,
		QoS: !h.o.NoQoS, Patch: h.o.patchLevel(),
	}
	if h.o.User != "" {
		m.Auth = wire.AppendUsrPwd(nil, &wire.UsrPwd{Step: wire.UsrPwdPlain})
	}
	return wire.AppendInit(nil, &m)
}

// step takes one batch. out, if any, is to be sent, also with an error; it is done when rest is not nil, which is what
// stood behind the handshake in the batch.
func (h *opener) step(batch []byte) (out, rest []byte, err error) {
	if !h.opened {
		var m wire.Init
		if _, err := decodeHandshake(batch, wire.InitKind, wire.DecodeInit, &m); err != nil {
			return nil, nil, err
		}
		out, err = h.initAck(&m)
		return out, nil, err
	}
	var m wire.Open
	n, err := decodeHandshake(batch, wire.OpenKind, wire.DecodeOpen, &m)
	if err != nil {
		return nil, nil, err
	}
	if !m.Ack {
		return nil, nil, refuse(wire.ReasonInvalid, "OPEN without Ack from the side that was dialled")
	}
	if err := h.open(&m); err != nil {
		return nil, nil, err
	}
	return nil, batch[n:], nil
}

func (h *opener) initAck(m *wire.Init) ([]byte, error) {
	switch {
	case !m.Ack:
		return nil, refuse(wire.ReasonInvalid, "INIT without Ack from the side that was dialled")
	case m.ID == h.o.ID:
		return nil, &refusal{wire.ReasonConnectionToSelf, ErrSelf}
	case !h.expect.IsZero() && m.ID != h.expect:
		return nil, &refusal{wire.ReasonInvalid, fmt.Errorf("%w: %s, want %s", ErrOther, m.ID, h.expect)}
	case h.known != nil && h.known(m.ID):
		return nil, &refusal{wire.ReasonMaxLinks, errHave}
	case m.Resolution&3 > h.o.resolution()&3 || m.Resolution>>2&3 > h.o.resolution()>>2&3 || m.Patch > h.o.patchLevel():
		return nil, refuse(wire.ReasonInvalid, "more was granted than offered")
	}
	h.settleFrom(h.o, m, h.o.WhatAmI)
	if h.batch < minBatchSize {
		return nil, refuse(wire.ReasonInvalid, "batches of %d bytes are too small", h.batch)
	}
	auth, err := h.proof(m.Auth)
	if err != nil {
		return nil, err
	}
	h.opened = true
	return wire.AppendOpen(nil, &wire.Open{Lease: h.o.Lease, InitialSN: h.ownSN, Cookie: m.Cookie, Auth: auth}), nil
}

// proof answers the nonce in auth. Who does not ask for a proof gets none.
func (h *opener) proof(auth []byte) ([]byte, error) {
	if auth == nil || h.o.User == "" {
		return nil, nil
	}
	u, err := wire.DecodeUsrPwd(auth)
	if err != nil {
		return nil, refuse(wire.ReasonInvalid, "authentication: %w", err)
	}
	if u.Step != wire.UsrPwdNonce {
		return nil, nil
	}
	return wire.AppendUsrPwd(nil, &wire.UsrPwd{
		Step: wire.UsrPwdProof, User: h.o.User, HMAC: wire.UsrPwdHMAC(u.Nonce, h.o.Password),
	}), nil
}

// settleFrom takes over what m says, as far as we offer as much.
func (a *agreed) settleFrom(o *Options, m *wire.Init, ours wire.WhatAmI) {
	a.id, a.theirs, a.ours = m.ID, m.WhatAmI, ours
	a.batch = int(min(m.BatchSize, o.BatchSize))
	a.mask = snMask(min(m.Resolution&3, o.resolution()&3))
	a.qos = m.QoS && !o.NoQoS
	a.patch = min(m.Patch, o.patchLevel()) >= patchMarkers
	a.ownSN = wire.InitialSN(o.ID, m.ID, a.mask)
}

// open takes over what the peer's OPEN says.
func (a *agreed) open(m *wire.Open) error {
	if m.InitialSN > a.mask {
		return refuse(wire.ReasonInvalid, "initial sequence number %d, at most %d was agreed", m.InitialSN, a.mask)
	}
	a.lease, a.theirSN = max(m.Lease, minLease), m.InitialSN
	return nil
}

// acceptor is the handshake of who was dialled, without the I/O: step with two batches, then ack.
type acceptor struct {
	o      *Options
	inited bool // InitAck is sent
	cookie [16]byte
	nonce  uint64
	agreed
}

// step takes one batch. out, if any, is to be sent; the peer may be admitted, by ack, when rest is not nil, which is what
// stood behind the handshake in the batch.
func (h *acceptor) step(batch []byte) (out, rest []byte, err error) {
	if !h.inited {
		var m wire.Init
		if _, err := decodeHandshake(batch, wire.InitKind, wire.DecodeInit, &m); err != nil {
			return nil, nil, err
		}
		out, err = h.initSyn(&m)
		return out, nil, err
	}
	var m wire.Open
	n, err := decodeHandshake(batch, wire.OpenKind, wire.DecodeOpen, &m)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case m.Ack:
		return nil, nil, refuse(wire.ReasonInvalid, "OPEN with Ack from the side that dialled")
	case subtle.ConstantTimeCompare(m.Cookie, h.cookie[:]) == 0:
		return nil, nil, refuse(wire.ReasonInvalid, "wrong cookie")
	}
	if err := h.verify(m.Auth); err != nil {
		return nil, nil, err
	}
	if err := h.open(&m); err != nil {
		return nil, nil, err
	}
	return nil, batch[n:], nil
}

func (h *acceptor) initSyn(m *wire.Init) ([]byte, error) {
	switch {
	case m.Ack:
		return nil, refuse(wire.ReasonInvalid, "INIT with Ack from the side that dialled")
	case m.ID == h.o.ID:
		return nil, &refusal{wire.ReasonConnectionToSelf, ErrSelf}
	}
	ours, err := h.o.Present(m.WhatAmI)
	if err != nil {
		return nil, &refusal{wire.ReasonUnsupported, err}
	}
	h.settleFrom(h.o, m, ours)
	if h.batch < minBatchSize {
		return nil, refuse(wire.ReasonInvalid, "batches of %d bytes are too small", h.batch)
	}
	auth, err := h.challenge(m.Auth)
	if err != nil {
		return nil, err
	}
	_, _ = rand.Read(h.cookie[:])
	own := h.o.resolution()
	out := wire.Init{
		Ack: true, WhatAmI: ours, ID: h.o.ID,
		Resolution: min(m.Resolution&0x3, own&0x3) | min(m.Resolution&0xc, own&0xc),
		BatchSize:  uint16(h.batch), Cookie: h.cookie[:], QoS: h.qos, Auth: auth,
		Patch: min(m.Patch, h.o.patchLevel()),
	}
	h.inited = true
	return wire.AppendInit(nil, &out), nil
}

// challenge asks for a proof where one is needed.
func (h *acceptor) challenge(auth []byte) ([]byte, error) {
	if h.o.Users == nil {
		return nil, nil
	}
	u, err := wire.UsrPwd{}, error(nil)
	if auth != nil {
		u, err = wire.DecodeUsrPwd(auth)
	}
	if err != nil || u.Step != wire.UsrPwdPlain {
		return nil, refuse(wire.ReasonGeneric, "offers no user and password")
	}
	var b [8]byte
	_, _ = rand.Read(b[:])
	h.nonce = binary.LittleEndian.Uint64(b[:])
	return wire.AppendUsrPwd(nil, &wire.UsrPwd{Step: wire.UsrPwdNonce, Nonce: h.nonce}), nil
}

// verify checks the proof in auth where one is needed. It takes as long for an unknown user as for a wrong password.
func (h *acceptor) verify(auth []byte) error {
	if h.o.Users == nil {
		return nil
	}
	u, err := wire.UsrPwd{}, error(nil)
	if auth != nil {
		u, err = wire.DecodeUsrPwd(auth)
	}
	if err != nil || u.Step != wire.UsrPwdProof {
		return refuse(wire.ReasonGeneric, "no proof of a password")
	}
	password, known := h.o.Users[u.User]
	if !hmac.Equal(wire.UsrPwdHMAC(h.nonce, password), u.HMAC) || !known {
		return refuse(wire.ReasonGeneric, "wrong user or password")
	}
	h.user = strings.Clone(u.User)
	return nil
}

// ack returns the OpenAck: from here on the peer may be sent frames.
func (h *acceptor) ack() []byte {
	m := wire.Open{Ack: true, Lease: h.o.Lease, InitialSN: h.ownSN}
	if h.o.Users != nil {
		m.Auth = wire.AppendUsrPwd(nil, &wire.UsrPwd{Step: wire.UsrPwdPlain})
	}
	return wire.AppendOpen(nil, &m)
}
