package wire

// FrameHeader is what a FRAME begins with. Network messages follow, until the next transport message or the batch's end.
type FrameHeader struct {
	Reliable bool
	SN       uint32
	Priority QoS // alone, without flags; without negotiated QoS it must be PriorityData, which is not written
}

// AppendFrameHeader appends m to b.
func AppendFrameHeader(b []byte, m FrameHeader) []byte {
	w := writer{b: b}
	w.optional(byte(Frame), flagReliable, m.Reliable)
	w.zint(uint64(m.SN))
	w.priority(m.Priority)
	return w.b
}

func (w *writer) priority(p QoS) {
	if p != PriorityData {
		w.intExt(extPriority, uint64(p.Priority()))
	}
}

// DecodeFrameHeader decodes what a FRAME begins with from the front of b into m and returns its length.
func DecodeFrameHeader(b []byte, m *FrameHeader) (int, error) {
	r := reader{b: b}
	h := r.transportHeader(Frame)
	*m = FrameHeader{Reliable: h&flagReliable != 0, SN: r.z32(), Priority: PriorityData}
	for h&flagZ != 0 {
		if h = r.u8(); h&^flagZ == extPriority {
			m.Priority = QoS(r.zint()).Priority()
		} else {
			r.skipExt(h)
		}
	}
	return r.done()
}

// FragmentHeader is what a FRAGMENT begins with. A part of one network message follows, up to the batch's end.
type FragmentHeader struct {
	Reliable bool
	More     bool // not the last one
	SN       uint32
	Priority QoS  // as in a FrameHeader
	First    bool // the first one; written only if both sides have patch 1
	Drop     bool // what came of the message so far is to be forgotten
}

// AppendFragmentHeader appends m to b.
func AppendFragmentHeader(b []byte, m FragmentHeader) []byte {
	w := writer{b: b}
	w.optional(byte(Fragment), flagReliable, m.Reliable)
	if m.More {
		w.b[w.z] |= flagMore
	}
	w.zint(uint64(m.SN))
	w.priority(m.Priority)
	w.flagExt(extFirst, m.First)
	w.flagExt(extDrop, m.Drop)
	return w.b
}

// DecodeFragmentHeader decodes what a FRAGMENT begins with from the front of b into m and returns its length.
func DecodeFragmentHeader(b []byte, m *FragmentHeader) (int, error) {
	r := reader{b: b}
	h := r.transportHeader(Fragment)
	*m = FragmentHeader{Reliable: h&flagReliable != 0, More: h&flagMore != 0, SN: r.z32(), Priority: PriorityData}
	for h&flagZ != 0 {
		h = r.u8()
		switch h &^ flagZ {
		case extPriority:
			m.Priority = QoS(r.zint()).Priority()
		case extFirst:
			m.First = true
		case extDrop:
			m.Drop = true
		default:
			r.skipExt(h)
		}
	}
	return r.done()
}
