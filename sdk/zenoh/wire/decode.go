package wire

import "math"

// The flags of network messages.
const (
	flagSuffix = 0x20 // Push, Request, Response, declarations: the key has a suffix
	flagSender = 0x40 // the key's scope is an id that the sender declared

	flagAnswer = 0x20 // Declare: the id of an interest follows
)

// The extensions of network messages.
const (
	extQoS       = 0x21
	extTimestamp = 0x42
	extNodeID    = 0x33
	extStack     = 0x47
	extTarget    = 0x34 // Request
	extBudget    = 0x25 // Request
	extTimeout   = 0x26 // Request
	extResponder = 0x43 // Response
	extQueryable = 0x21 // DeclQueryable
	extWireExpr  = 0x5f // Undecl*
)

// The option bits of an Interest that are in its Key.
const (
	interestSuffix = 0x20
	interestSender = 0x40
)

// IsNetwork reports whether a message that begins with b0 is a network message rather than a transport message, as it must
// be told inside a FRAME, which ends where the next transport message begins.
func IsNetwork(b0 byte) bool { return b0&idMask >= byte(Interest) }

// DecodeMessage resets m and decodes one network message from the front of b; it returns the message's length. What m holds
// refers to b. After an error m is not to be used, and neither is what follows in b, because nobody knows where it begins.
func DecodeMessage(b []byte, m *Message) (int, error) {
	*m = Message{QoS: DefaultQoS}
	r := reader{b: b}
	h := r.u8()
	m.Kind = Kind(h & idMask)
	switch m.Kind {
	case Push:
		r.key(h, &m.Key)
		r.exts(h, m)
		r.pushBody(&m.Body)
	case Request:
		m.RequestID = r.z32()
		r.key(h, &m.Key)
		r.exts(h, m)
		r.queryBody(&m.Body)
	case Response:
		m.RequestID = r.z32()
		r.key(h, &m.Key)
		r.exts(h, m)
		r.responseBody(&m.Body)
	case ResponseFinal:
		m.RequestID = r.z32()
		r.exts(h, m)
	case Declare:
		if m.HasInterest = h&flagAnswer != 0; m.HasInterest {
			m.InterestID = r.z32()
		}
		r.exts(h, m)
		r.declaration(m)
	case Interest:
		r.interest(h, m)
	case OAM:
		r.oam(h, m)
	default:
		r.fail(ErrUnknown)
	}
	return r.done()
}

// key reads a key whose flags are in the header h.
func (r *reader) key(h byte, k *WireExpr) {
	k.Scope = r.z16()
	k.Sender = h&flagSender != 0 && k.Scope != 0
	if h&flagSuffix != 0 {
		k.Suffix = r.text(MaxSuffix)
	}
}

// exts reads the extensions of a network message with header h. Those that messages of its kind do not have are unknown.
func (r *reader) exts(h byte, m *Message) {
	for h&flagZ != 0 {
		h = r.u8()
		x := h &^ flagZ
		if x == extQoS {
			m.QoS = QoS(r.zint())
			continue
		}
		switch {
		case x == extTimestamp:
			m.Timestamp = r.timestampExt()
		case m.Kind == Request && r.requestExt(x, m):
		case x == extResponder && m.Kind == Response:
			s := r.sub()
			m.Responder = s.entity()
			r.merge(&s)
		case x == extNodeID && m.Kind != Response && m.Kind != ResponseFinal:
			m.NodeID = uint16(r.zint())
		case x == extStack && (m.Kind == Push || m.Kind == Request || m.Kind == Response):
			m.Stack = r.stack()
		default:
			r.skipExt(h)
		}
	}
}

// requestExt reads the extension x, or returns false if it is not one that only a Request has.
func (r *reader) requestExt(x byte, m *Message) bool {
	switch x {
	case extTarget:
		v := r.zint()
		if v > uint64(AllComplete) {
			r.fail(ErrRange)
		}
		m.Target = Target(v)
	case extBudget:
		m.Budget = r.z32()
	case extTimeout:
		m.TimeoutMS = uint32(min(r.zint(), math.MaxUint32))
	default:
		return false
	}
	return true
}

// stack reads a timestamp stack. One that is not well-formed counts as none: it comes from an extension that is still
// changing, and the next node might close the link over it.
func (r *reader) stack() []byte {
	p := r.zbuf()
	s := reader{b: p}
	if s.u8() == 0 {
		return nil
	}
	n := s.zint()
	if n > 255 {
		return nil
	}
	for range n {
		s.u8() // where it was taken
		s.zbuf()
	}
	if s.err != 0 || s.i < len(p) {
		return nil
	}
	return p
}

func (r *reader) declaration(m *Message) {
	h := r.u8()
	d := &m.Decl
	switch d.Kind = DeclKind(h & declarationMask); d.Kind {
	case DeclKeyExpr:
		d.ID = uint32(r.z16())
		r.key(h&^flagSender, &m.Key)
		r.skipExts(h)
	case UndeclKeyExpr:
		d.ID = uint32(r.z16())
		r.skipExts(h)
	case DeclSubscriber, DeclToken:
		d.ID = r.z32()
		r.key(h, &m.Key)
		r.skipExts(h)
	case DeclQueryable:
		d.ID = r.z32()
		r.key(h, &m.Key)
		r.queryableExts(h, d)
	case UndeclSubscriber, UndeclQueryable, UndeclToken:
		d.ID = r.z32()
		r.undeclareExts(h, m)
	case DeclFinal:
		r.skipExts(h)
	default:
		r.fail(ErrUnknown)
	}
}

func (r *reader) queryableExts(h byte, d *Declaration) {
	for h&flagZ != 0 {
		if h = r.u8(); h&^flagZ != extQueryable {
			r.skipExt(h)
			continue
		}
		v := r.zint()
		d.Complete = v&1 != 0
		d.Distance = uint16(v >> 8)
	}
}

func (r *reader) undeclareExts(h byte, m *Message) {
	for h&flagZ != 0 {
		if h = r.u8(); h&^flagZ != extWireExpr {
			r.skipExt(h)
			continue
		}
		s := r.sub()
		flags := s.u8()
		m.Key = WireExpr{Scope: s.z16()}
		m.Key.Sender = flags&2 != 0 && m.Key.Scope != 0
		if p := s.rest(); flags&1 != 0 {
			if len(p) > MaxSuffix {
				s.fail(ErrRange)
			}
			m.Key.Suffix = s.checked(p)
		}
		r.merge(&s)
		m.Decl.HasKey = m.Key.Scope != 0 || m.Key.Suffix != ""
	}
}

func (r *reader) interest(h byte, m *Message) {
	m.Mode = InterestMode(h >> 5 & 3)
	m.InterestID = r.z32()
	if m.Mode != InterestFinal {
		o := r.u8()
		m.Options = InterestOptions(o &^ (interestSuffix | interestSender))
		if m.Options&InterestRestricted != 0 {
			r.key(o, &m.Key) // the option bits are where the flags of other headers are
		}
	}
	r.exts(h, m)
}

func (r *reader) oam(h byte, m *Message) {
	m.OAMID = r.z16()
	r.exts(h, m)
	switch h & encMask {
	case encUnit:
	case encZ64:
		m.OAMHasInt, m.OAMInt = true, r.zint()
	case encZBuf:
		m.OAMBody = r.zbuf()
	default:
		r.fail(ErrExtension)
	}
}
