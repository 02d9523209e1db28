package wire

import (
	"encoding/binary"
	"math"
	"time"
)

// TransportKind is the kind of a transport message, by its id on the wire.
type TransportKind uint8

// The kinds of transport messages. Join is of multicast transports and only recognised here.
const (
	TransportOAM TransportKind = 0x00
	InitKind     TransportKind = 0x01
	OpenKind     TransportKind = 0x02
	CloseKind    TransportKind = 0x03
	KeepAlive    TransportKind = 0x04
	Frame        TransportKind = 0x05
	Fragment     TransportKind = 0x06
	Join         TransportKind = 0x07
)

// TransportID returns the kind of a transport message that begins with b0; what it begins with may also be a network
// message (IsNetwork) or nothing known, above Join.
func TransportID(b0 byte) TransportKind { return TransportKind(b0 & idMask) }

// The flags of transport messages.
const (
	flagAck      = 0x20 // INIT, OPEN
	flagSizes    = 0x40 // INIT: resolution and batch size are there
	flagSeconds  = 0x40 // OPEN: the lease is in seconds
	flagSession  = 0x20 // CLOSE
	flagReliable = 0x20 // FRAME, FRAGMENT
	flagMore     = 0x40 // FRAGMENT
)

// The extensions of transport messages.
const (
	extLanes       = 0x01 // INIT, OPEN
	extQoSLink     = 0x21 // INIT
	extShm         = 0x42 // INIT; OPEN since 1.10
	extShmInt      = 0x22 // OPEN
	extAuth        = 0x43 // INIT, OPEN
	extMultiLink   = 0x44 // INIT, OPEN
	extMultiAck    = 0x04 // OPEN
	extLowLatency  = 0x05 // INIT, OPEN
	extCompression = 0x06 // INIT, OPEN
	extPatch       = 0x27 // INIT
	extRegion      = 0x48 // INIT
	extBound       = 0x27 // OPEN

	extPriority = 0x31 // FRAME, FRAGMENT
	extFirst    = 0x02 // FRAGMENT
	extDrop     = 0x03 // FRAGMENT
)

// What an INIT without sizes means.
const (
	DefaultResolution = 0x0a  // sequence numbers and request ids of 32 bits
	MaxBatchSize      = 65535 // the two bytes of a batch's length on a stream are part of it
)

// Init is an INIT message. An extension that is not there is its field's zero value.
type Init struct {
	Ack        bool
	Version    uint8 // written as ProtocolVersion where it is 0
	WhatAmI    WhatAmI
	ID         ID
	Resolution uint8  // bits 0-1 sequence numbers, 2-3 request ids: 0, 1, 2, 3 for 8, 16, 32, 64 bits
	BatchSize  uint16 // bytes
	Cookie     []byte // Ack; at most 65535 bytes

	QoS         bool   // 8 priorities with lanes of their own
	QoSLink     uint64 // 0: none
	Shm         []byte // nil: none
	Auth        []byte // nil: none; see UsrPwd
	MultiLink   []byte // nil: none
	LowLatency  bool
	Compression bool
	Patch       uint64
	Region      string
}

// AppendInit appends m to b.
func AppendInit(b []byte, m *Init) []byte {
	w := writer{b: b}
	sizes := m.Resolution != DefaultResolution || m.BatchSize != MaxBatchSize
	w.optional(byte(InitKind), flagAck, m.Ack)
	if sizes {
		w.b[w.z] |= flagSizes
	}
	w.u8(versionOr(m.Version))
	w.nibbleID(&m.ID, byte(m.WhatAmI))
	if sizes {
		w.u8(m.Resolution)
		w.u16(m.BatchSize)
	}
	if m.Ack {
		w.bytes(m.Cookie)
	}
	w.flagExt(extLanes, m.QoS)
	w.optIntExt(extQoSLink, m.QoSLink)
	w.optBytesExt(extShm, m.Shm)
	w.optBytesExt(extAuth, m.Auth)
	w.optBytesExt(extMultiLink, m.MultiLink)
	w.flagExt(extLowLatency, m.LowLatency)
	w.flagExt(extCompression, m.Compression)
	w.optIntExt(extPatch, m.Patch)
	if m.Region != "" {
		w.ext(extRegion)
		w.text(m.Region)
	}
	return w.b
}

func versionOr(v uint8) uint8 {
	if v == 0 {
		return ProtocolVersion
	}
	return v
}

func (w *writer) flagExt(h byte, holds bool) {
	if holds {
		w.ext(h)
	}
}

func (w *writer) optIntExt(h byte, v uint64) {
	if v != 0 {
		w.intExt(h, v)
	}
}

func (w *writer) optBytesExt(h byte, p []byte) {
	if p != nil {
		w.bytesExt(h, p)
	}
}

// DecodeInit decodes an INIT from the front of b into m and returns its length. The version is for the caller to check: of
// another one than ProtocolVersion it may read nonsense or fail.
func DecodeInit(b []byte, m *Init) (int, error) {
	*m = Init{Resolution: DefaultResolution, BatchSize: MaxBatchSize}
	r := reader{b: b}
	h := r.transportHeader(InitKind)
	m.Ack = h&flagAck != 0
	m.Version = r.u8()
	m.WhatAmI, m.ID = r.whatAmIAndID()
	if h&flagSizes != 0 {
		m.Resolution = r.u8()
		m.BatchSize = r.u16()
	}
	if m.Ack {
		m.Cookie = r.bytes(uint64(r.z16()))
	}
	for h&flagZ != 0 {
		h = r.u8()
		switch h &^ flagZ {
		case extLanes:
			m.QoS = true
		case extQoSLink:
			m.QoSLink = r.zint()
		case extShm:
			m.Shm = r.zbuf()
		case extAuth:
			m.Auth = r.zbuf()
		case extMultiLink:
			m.MultiLink = r.zbuf()
		case extLowLatency:
			m.LowLatency = true
		case extCompression:
			m.Compression = true
		case extPatch:
			m.Patch = r.zint()
		case extRegion:
			m.Region = r.checked(r.zbuf())
		default:
			r.skipExt(h)
		}
	}
	return r.done()
}

// transportHeader reads the header of a message that must be of kind k.
func (r *reader) transportHeader(k TransportKind) byte {
	h := r.u8()
	if r.err == 0 && TransportID(h) != k {
		r.fail(ErrUnknown)
	}
	return h
}

func (r *reader) u16() uint16 {
	p := r.bytes(2)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint16(p)
}

// whatAmIAndID reads the byte with the length of an id and a mode, and the id.
func (r *reader) whatAmIAndID() (WhatAmI, ID) {
	c := r.u8()
	w := WhatAmI(c & 3)
	if w > Client {
		r.fail(ErrWhatAmI)
	}
	return w, r.fixedID(uint64(c>>4) + 1)
}

// Open is an OPEN message. An extension that is not there is its field's zero value.
type Open struct {
	Ack       bool
	Lease     time.Duration // whole milliseconds
	InitialSN uint32
	Cookie    []byte // not Ack

	QoS          bool
	Shm          uint64 // up to 1.9; 0: none
	ShmBody      []byte // since 1.10; nil: none
	Auth         []byte // nil: none; see UsrPwd
	MultiLink    []byte // nil: none
	MultiLinkAck bool
	LowLatency   bool
	Compression  bool
	HasBound     bool // South is there: how the sender classifies the receiver
	South        bool
}

// AppendOpen appends m to b.
func AppendOpen(b []byte, m *Open) []byte {
	w := writer{b: b}
	lease, seconds := uint64(max(m.Lease, 0)/time.Millisecond), m.Lease%time.Second == 0
	w.optional(byte(OpenKind), flagAck, m.Ack)
	if seconds {
		w.b[w.z] |= flagSeconds
		lease /= 1000
	}
	w.zint(lease)
	w.zint(uint64(m.InitialSN))
	if !m.Ack {
		w.bytes(m.Cookie)
	}
	w.flagExt(extLanes, m.QoS)
	w.optIntExt(extShmInt, m.Shm)
	w.optBytesExt(extShm, m.ShmBody)
	w.optBytesExt(extAuth, m.Auth)
	w.optBytesExt(extMultiLink, m.MultiLink)
	w.flagExt(extMultiAck, m.MultiLinkAck)
	w.flagExt(extLowLatency, m.LowLatency)
	w.flagExt(extCompression, m.Compression)
	if m.HasBound {
		var v uint64
		if m.South {
			v = 1
		}
		w.intExt(extBound, v)
	}
	return w.b
}

// DecodeOpen decodes an OPEN from the front of b into m and returns its length. A lease beyond what a Duration holds is
// the longest that is.
func DecodeOpen(b []byte, m *Open) (int, error) {
	*m = Open{}
	r := reader{b: b}
	h := r.transportHeader(OpenKind)
	m.Ack = h&flagAck != 0
	unit := time.Millisecond
	if h&flagSeconds != 0 {
		unit = time.Second
	}
	m.Lease = time.Duration(min(r.zint(), uint64(math.MaxInt64/unit))) * unit
	m.InitialSN = r.z32()
	if !m.Ack {
		m.Cookie = r.zbuf()
	}
	for h&flagZ != 0 {
		h = r.u8()
		switch h &^ flagZ {
		case extLanes:
			m.QoS = true
		case extShmInt:
			m.Shm = r.zint()
		case extShm:
			m.ShmBody = r.zbuf()
		case extAuth:
			m.Auth = r.zbuf()
		case extMultiLink:
			m.MultiLink = r.zbuf()
		case extMultiAck:
			m.MultiLinkAck = true
		case extLowLatency:
			m.LowLatency = true
		case extCompression:
			m.Compression = true
		case extBound:
			m.HasBound, m.South = true, r.zint() != 0
		default:
			r.skipExt(h)
		}
	}
	return r.done()
}

// Reason is why a link or session is closed.
type Reason uint8

// The reasons of CLOSE.
const (
	ReasonGeneric          Reason = 0
	ReasonUnsupported      Reason = 1
	ReasonInvalid          Reason = 2
	ReasonMaxSessions      Reason = 3
	ReasonMaxLinks         Reason = 4
	ReasonExpired          Reason = 5
	ReasonUnresponsive     Reason = 6
	ReasonConnectionToSelf Reason = 7
)

// String returns the reason as Zenoh names it.
func (r Reason) String() string {
	names := [...]string{"GENERIC", "UNSUPPORTED", "INVALID", "MAX_SESSIONS", "MAX_LINKS", "EXPIRED", "UNRESPONSIVE", "CONNECTION_TO_SELF"}
	if int(r) < len(names) {
		return names[r]
	}
	return "UNKNOWN"
}

// Close is a CLOSE message.
type Close struct {
	Session bool // the whole session, not just this link
	Reason  Reason
}

// AppendClose appends m to b.
func AppendClose(b []byte, m Close) []byte {
	w := writer{b: b}
	w.optional(byte(CloseKind), flagSession, m.Session)
	w.u8(byte(m.Reason))
	return w.b
}

// DecodeClose decodes a CLOSE from the front of b into m and returns its length.
func DecodeClose(b []byte, m *Close) (int, error) {
	r := reader{b: b}
	h := r.transportHeader(CloseKind)
	*m = Close{Session: h&flagSession != 0, Reason: Reason(r.u8())}
	r.skipExts(h)
	return r.done()
}

// AppendKeepAlive appends a KEEP_ALIVE to b.
func AppendKeepAlive(b []byte) []byte { return append(b, byte(KeepAlive)) }

// DecodeKeepAlive decodes a KEEP_ALIVE from the front of b and returns its length.
func DecodeKeepAlive(b []byte) (int, error) {
	r := reader{b: b}
	r.skipExts(r.transportHeader(KeepAlive))
	return r.done()
}

// SkipTransportOAM returns the length of the transport's OAM message at the front of b. Zenoh has no use for it so far.
func SkipTransportOAM(b []byte) (int, error) {
	r := reader{b: b}
	h := r.transportHeader(TransportOAM)
	r.z16()
	r.skipExts(h)
	r.skipExt(h & encMask)
	return r.done()
}
