package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// writer puts a message together.
type writer struct {
	b []byte
	z int // where the header is whose flag Z the next extension sets: the message's or that of the extension before
}

func (w *writer) u8(c byte) { w.b = append(w.b, c) }

// header begins a message or body.
func (w *writer) header(h byte) {
	w.z = len(w.b)
	w.b = append(w.b, h)
}

// ext begins an extension.
func (w *writer) ext(h byte) {
	w.b[w.z] |= flagZ
	w.header(h)
}

func (w *writer) zint(v uint64) {
	if v < 0x80 {
		w.b = append(w.b, byte(v))
		return
	}
	w.b = AppendZint(w.b, v)
}

func (w *writer) bytes(p []byte) {
	w.zint(uint64(len(p)))
	w.b = append(w.b, p...)
}

func (w *writer) text(s string) {
	w.zint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) intExt(h byte, v uint64) {
	w.ext(h)
	w.zint(v)
}

func (w *writer) bytesExt(h byte, p []byte) {
	w.ext(h)
	w.bytes(p)
}

// open leaves room for the length of an extension's body of less than 128 bytes, which close fills in.
func (w *writer) open() (at int) {
	w.b = append(w.b, 0)
	return len(w.b)
}

func (w *writer) close(at int) { w.b[at-1] = byte(len(w.b) - at) }

func (w *writer) countedID(id *ID) { w.bytes(id.Bytes()) }

// nibbleID writes a byte with the length of id and the lower bits low, and then id. Without an id it is that byte alone.
func (w *writer) nibbleID(id *ID, low byte) {
	p := id.Bytes()
	if len(p) > 0 {
		low |= byte(len(p)-1) << 4
	}
	w.b = append(append(w.b, low), p...)
}

func (w *writer) timestamp(t *Timestamp) {
	w.zint(t.Time)
	w.countedID(&t.ID)
}

func (w *writer) timestampExt(t *Timestamp) {
	if t.ID.none() {
		return
	}
	w.ext(extTimestamp)
	at := w.open()
	w.timestamp(t)
	w.close(at)
}

func (w *writer) entity(e *EntityID) {
	w.nibbleID(&e.ZID, 0)
	w.zint(uint64(e.EID))
}

func (w *writer) encoding(e *Encoding) {
	if e.Schema == "" {
		w.zint(uint64(e.ID) << 1)
		return
	}
	w.zint(uint64(e.ID)<<1 | 1)
	w.text(e.Schema)
}

func (e *Encoding) size() int {
	n := zintLen(uint64(e.ID) << 1)
	if e.Schema != "" {
		n += zintLen(uint64(len(e.Schema))) + len(e.Schema)
	}
	return n
}

// AppendMessage appends m to b. The extensions stand in the order in which the Rust implementation writes them.
//
// It appends nothing if m cannot be written: its kind, its declaration's or its body's does not exist or does not fit
// (a Push has a Put or Del, a Request a Query, a Response a Put, Del or Err, unless Body.Raw is there), a text is longer
// than its bound, the parameters are not UTF-8, or a number is outside of its range. That the key is UTF-8 is for the caller
// to see to, who has validated it anyway.
func AppendMessage(b []byte, m *Message) []byte {
	if !m.valid() {
		return b
	}
	w := writer{b: b}
	switch m.Kind {
	case Push:
		w.header(byte(Push) | m.Key.flags())
		w.key(&m.Key)
	case Request, Response:
		w.header(byte(m.Kind) | m.Key.flags())
		w.zint(uint64(m.RequestID))
		w.key(&m.Key)
	case ResponseFinal:
		w.header(byte(ResponseFinal))
		w.zint(uint64(m.RequestID))
	case Declare:
		w.declareHeader(m)
	case Interest:
		w.interestHeader(m)
	case OAM:
		w.oamHeader(m)
	}
	w.exts(m)
	switch m.Kind {
	case Push, Request, Response:
		w.body(m)
	case Declare:
		w.declaration(m)
	case OAM:
		w.oamBody(m)
	}
	return w.b
}

// valid reports whether m can be written.
func (m *Message) valid() bool {
	if len(m.Key.Suffix) > MaxSuffix {
		return false
	}
	switch m.Kind {
	case Push, Request, Response:
		return m.Target <= AllComplete && (m.Body.Raw != nil || m.Body.valid(m.Kind))
	case Declare:
		k := m.Decl.Kind
		return k <= UndeclToken && (k > UndeclKeyExpr || m.Decl.ID <= 0xffff) || k == DeclFinal
	case Interest:
		return m.Mode <= InterestCurrentFuture
	case OAM, ResponseFinal:
		return true
	}
	return false
}

func (d *Body) valid(in Kind) bool {
	switch d.Kind {
	case Put, Del:
		if in == Request {
			return false
		}
	case Query:
		if in != Request {
			return false
		}
	case Err:
		if in != Response {
			return false
		}
	default:
		return false
	}
	return len(d.Encoding.Schema) <= MaxSchema && d.Encoding.ID < 1<<31 && d.Consolidation <= Latest && utf8.ValidString(d.Parameters)
}

// flags returns the flags of k that a header holds.
func (k *WireExpr) flags() (h byte) {
	if k.Scope == 0 || k.Sender {
		h = flagSender
	}
	if k.Suffix != "" {
		h |= flagSuffix
	}
	return h
}

func (w *writer) key(k *WireExpr) {
	w.zint(uint64(k.Scope))
	if k.Suffix != "" {
		w.text(k.Suffix)
	}
}

func (w *writer) declareHeader(m *Message) {
	if !m.HasInterest {
		w.header(byte(Declare))
		return
	}
	w.header(byte(Declare) | flagAnswer)
	w.zint(uint64(m.InterestID))
}

func (w *writer) interestHeader(m *Message) {
	w.header(byte(Interest) | byte(m.Mode)<<5)
	w.zint(uint64(m.InterestID))
	if m.Mode == InterestFinal {
		return
	}
	o := byte(m.Options) &^ (interestSuffix | interestSender)
	if m.Options&InterestRestricted == 0 {
		w.u8(o)
		return
	}
	w.u8(o | m.Key.flags())
	w.key(&m.Key)
}

func (w *writer) oamHeader(m *Message) {
	h := byte(OAM)
	switch {
	case m.OAMBody != nil:
		h |= encZBuf
	case m.OAMHasInt:
		h |= encZ64
	}
	w.header(h)
	w.zint(uint64(m.OAMID))
}

func (w *writer) oamBody(m *Message) {
	switch {
	case m.OAMBody != nil:
		w.bytes(m.OAMBody)
	case m.OAMHasInt:
		w.zint(m.OAMInt)
	}
}

// exts writes the extensions of a network message.
func (w *writer) exts(m *Message) {
	if m.QoS != DefaultQoS {
		w.intExt(extQoS, uint64(m.QoS))
	}
	w.timestampExt(&m.Timestamp)
	switch m.Kind {
	case ResponseFinal:
		return
	case Response:
		w.responder(&m.Responder)
	case Request:
		w.requestExts(m)
		fallthrough
	default:
		if m.NodeID != 0 {
			w.intExt(extNodeID, uint64(m.NodeID))
		}
	}
	if m.Stack != nil && (m.Kind == Push || m.Kind == Request || m.Kind == Response) {
		w.bytesExt(extStack, m.Stack)
	}
}

func (w *writer) responder(e *EntityID) {
	if e.ZID.none() {
		return
	}
	w.ext(extResponder)
	at := w.open()
	w.entity(e)
	w.close(at)
}

func (w *writer) requestExts(m *Message) {
	if m.Target != BestMatching {
		w.intExt(extTarget, uint64(m.Target))
	}
	if m.Budget != 0 {
		w.intExt(extBudget, uint64(m.Budget))
	}
	if m.TimeoutMS != 0 {
		w.intExt(extTimeout, uint64(m.TimeoutMS))
	}
}

func (w *writer) declaration(m *Message) {
	d := &m.Decl
	switch d.Kind {
	case DeclKeyExpr:
		w.header(byte(DeclKeyExpr) | m.Key.flags()&^flagSender)
		w.zint(uint64(d.ID))
		w.key(&m.Key)
	case DeclSubscriber, DeclQueryable, DeclToken:
		w.header(byte(d.Kind) | m.Key.flags())
		w.zint(uint64(d.ID))
		w.key(&m.Key)
		if d.Kind == DeclQueryable && (d.Complete || d.Distance != 0) {
			v := uint64(d.Distance) << 8
			if d.Complete {
				v |= 1
			}
			w.intExt(extQueryable, v)
		}
	case UndeclSubscriber, UndeclQueryable, UndeclToken:
		w.header(byte(d.Kind))
		w.zint(uint64(d.ID))
		w.undeclaredKey(m)
	case UndeclKeyExpr:
		w.header(byte(UndeclKeyExpr))
		w.zint(uint64(d.ID))
	case DeclFinal:
		w.header(byte(DeclFinal))
	}
}

// undeclaredKey writes the key of what is undeclared. Without one, the Rust implementation writes an empty one, but not
// for a subscriber.
func (w *writer) undeclaredKey(m *Message) {
	if !m.Decl.HasKey {
		if m.Decl.Kind != UndeclSubscriber {
			w.bytesExt(extWireExpr, []byte{0, 0})
		}
		return
	}
	k := &m.Key
	w.ext(extWireExpr)
	w.zint(uint64(1 + zintLen(uint64(k.Scope)) + len(k.Suffix)))
	w.u8(k.flags() >> 5)
	w.zint(uint64(k.Scope))
	w.b = append(w.b, k.Suffix...)
}

// body writes the body of a Push, Request or Response.
func (w *writer) body(m *Message) {
	d := &m.Body
	switch {
	case d.Raw != nil:
		w.b = append(w.b, d.Raw...)
	case m.Kind == Request:
		w.query(d)
	case m.Kind == Response && d.Kind == Err:
		w.errBody(d)
	case m.Kind == Response:
		w.optional(replyID, flagConsolidation, d.Consolidation != ConsolidationAuto)
		if d.Consolidation != ConsolidationAuto {
			w.zint(uint64(d.Consolidation))
		}
		w.sample(d)
	default:
		w.sample(d)
	}
}

// optional begins a body with the header h, and the flag where that holds.
func (w *writer) optional(h, flag byte, holds bool) {
	if holds {
		h |= flag
	}
	w.header(h)
}

// sample writes a Put or Del.
func (w *writer) sample(d *Body) {
	w.header(byte(d.Kind))
	z := w.z
	if !d.Timestamp.ID.none() {
		w.b[z] |= flagTimestamp
		w.timestamp(&d.Timestamp)
	}
	if d.Kind == Put && d.Encoding != (Encoding{}) {
		w.b[z] |= flagEncoding
		w.encoding(&d.Encoding)
	}
	w.source(&d.Source)
	w.attachment(d)
	w.unknown(d.Unknown)
	if d.Kind == Put {
		w.bytes(d.Payload)
	}
}

func (w *writer) query(d *Body) {
	w.optional(byte(Query), flagConsolidation, d.Consolidation != ConsolidationAuto)
	if d.Consolidation != ConsolidationAuto {
		w.zint(uint64(d.Consolidation))
	}
	if d.Parameters != "" {
		w.b[w.z] |= flagParameters
		w.text(d.Parameters)
	}
	w.source(&d.Source)
	if d.HasPayload {
		w.ext(extQueryBody)
		w.zint(uint64(d.Encoding.size() + len(d.Payload)))
		w.encoding(&d.Encoding)
		w.b = append(w.b, d.Payload...)
	}
	w.attachment(d)
	w.unknown(d.Unknown)
}

func (w *writer) errBody(d *Body) {
	w.optional(byte(Err), flagEncoding, d.Encoding != (Encoding{}))
	if d.Encoding != (Encoding{}) {
		w.encoding(&d.Encoding)
	}
	w.source(&d.Source)
	w.unknown(d.Unknown)
	w.bytes(d.Payload)
}

func (w *writer) source(s *SourceInfo) {
	if s.Entity.ZID.none() {
		return
	}
	w.ext(extSource)
	at := w.open()
	w.entity(&s.Entity)
	w.zint(uint64(s.SN))
	w.close(at)
}

func (w *writer) attachment(d *Body) {
	if d.Attachment != nil {
		w.bytesExt(attachmentExt(d.Kind), d.Attachment)
	}
}

// unknown writes extensions that were kept, up to the first that is not well-formed.
func (w *writer) unknown(chain []byte) {
	r := reader{b: chain}
	for r.i < len(chain) {
		start := r.i
		h := r.u8()
		r.skipExt(h)
		if r.err != 0 {
			return
		}
		w.ext(h &^ flagZ)
		w.b = append(w.b, chain[start+1:r.i]...)
	}
}

// u16 writes v in little-endian order.
func (w *writer) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
