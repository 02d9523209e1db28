package wire

// The flags of bodies.
const (
	flagTimestamp     = 0x20 // Put, Del
	flagEncoding      = 0x40 // Put, Err
	flagConsolidation = 0x20 // Query, Reply
	flagParameters    = 0x40 // Query
)

// replyID is the id of a Reply, which is around a Put or Del.
const replyID = 0x04

// The extensions of bodies. An attachment has another number in each.
const (
	extSource          = 0x41
	extPutAttachment   = 0x43
	extDelAttachment   = 0x42
	extQueryAttachment = 0x45
	extQueryBody       = 0x43
	extQueryShm        = 0x04
)

// attachmentExt returns the header of the extension that is an attachment in a body of kind k, or 0.
func attachmentExt(k BodyKind) byte {
	switch k {
	case Put:
		return extPutAttachment
	case Del:
		return extDelAttachment
	case Query:
		return extQueryAttachment
	}
	return 0
}

func (r *reader) pushBody(d *Body) {
	start := r.i
	r.sample(d)
	r.raw(d, start)
}

// raw keeps the body that began at start.
func (r *reader) raw(d *Body, start int) {
	if r.err == 0 {
		d.Raw = r.b[start:r.i:r.i]
	}
}

// sample reads a Put or Del.
func (r *reader) sample(d *Body) {
	h := r.u8()
	if d.Kind = BodyKind(h & idMask); d.Kind != Put && d.Kind != Del {
		r.fail(ErrUnknown)
		return
	}
	if h&flagTimestamp != 0 {
		d.Timestamp = r.timestamp()
	}
	if d.Kind == Del {
		r.bodyExts(h, d)
		return
	}
	if h&flagEncoding != 0 {
		d.Encoding = r.encoding()
	}
	r.bodyExts(h, d)
	d.Payload = r.zbuf()
}

func (r *reader) queryBody(d *Body) {
	start := r.i
	h := r.u8()
	if d.Kind = BodyKind(h & idMask); d.Kind != Query {
		r.fail(ErrUnknown)
		return
	}
	if h&flagConsolidation != 0 {
		d.Consolidation = r.consolidation()
	}
	if h&flagParameters != 0 {
		d.Parameters = r.text(uint64(len(r.b)))
	}
	r.bodyExts(h, d)
	r.raw(d, start)
}

func (r *reader) consolidation() Consolidation {
	v := r.zint()
	if v > uint64(Latest) {
		r.fail(ErrRange)
	}
	return Consolidation(v)
}

// responseBody reads a Reply with the Put or Del in it, or an Err.
func (r *reader) responseBody(d *Body) {
	start := r.i
	h := r.u8()
	switch h & idMask {
	case replyID:
		if h&flagConsolidation != 0 {
			d.Consolidation = r.consolidation()
		}
		r.skipExts(h) // none is known; they stay in d.Raw
		r.sample(d)
	case byte(Err):
		d.Kind = Err
		if h&flagEncoding != 0 {
			d.Encoding = r.encoding()
		}
		r.bodyExts(h, d)
		d.Payload = r.zbuf()
	default:
		r.fail(ErrUnknown)
	}
	r.raw(d, start)
}

// bodyExts reads the extensions of a body with header h.
func (r *reader) bodyExts(h byte, d *Body) {
	attachment := attachmentExt(d.Kind)
	for h&flagZ != 0 {
		start := r.i
		h = r.u8()
		switch x := h &^ flagZ; {
		case x == extSource:
			s := r.sub()
			d.Source.Entity = s.entity()
			d.Source.SN = s.z32()
			r.merge(&s)
		case x == attachment:
			d.Attachment = r.zbuf()
		case x == extQueryBody && d.Kind == Query:
			s := r.sub()
			d.HasPayload = true
			d.Encoding = s.encoding()
			d.Payload = s.rest()
			r.merge(&s)
		case x == extQueryShm && d.Kind == Query:
			// The payload is in shared memory, which nobody has agreed to with us. It is not marked as mandatory, but whoever
			// knows it would look there.
			r.fail(ErrMandatory)
		default:
			r.skipExt(h)
			d.Unknown = extend(d.Unknown, r.b[:r.i], start)
		}
	}
}

// extend returns the unknown extensions with the one added that b ends with, from start on. While they stand together they
// are a part of b; a copy is made only of those that stand apart.
func extend(unknown, b []byte, start int) []byte {
	n := start - len(unknown)
	if len(unknown) == 0 || n >= 0 && &b[n] == &unknown[0] {
		return b[n:len(b):len(b)]
	}
	return append(unknown, b[start:]...)
}
