package wire

// OAMLinkState is the OAM id of a message whose OAMBody is a list of link states.
const OAMLinkState = 0x0001

// Bounds of a list of link states; a longer one is refused. They keep what decoding allocates below 16 MiB.
const (
	MaxLinkStates     = 1 << 14
	MaxLinkStateBytes = 1 << 20
)

// The options of a link state: what of it is there.
const (
	linkHasID       = 0x01
	linkHasWhatAmI  = 0x02
	linkHasLocators = 0x04
	linkHasWeights  = 0x08
	linkIsGateway   = 0x10
)

// LinkState is what one node tells of a node that it knows, often of itself.
type LinkState struct {
	PSID        uint64 // names the node between this sender and its receiver
	SN          uint64 // grows with each change of the node's state
	ID          ID     // none: a node whose PSID was told before
	HasWhatAmI  bool
	WhatAmI     WhatAmI
	HasLocators bool
	Locators    []string
	Links       []uint64 // the node's neighbours, by their PSIDs
	Weights     []uint16 // nil: none; else one for each of Links
	Gateway     bool
}

// AppendLinkStates appends a list of link states to b, as an OAMBody holds it.
func AppendLinkStates(b []byte, list []LinkState) []byte {
	w := writer{b: b}
	w.zint(uint64(len(list)))
	for i := range list {
		w.linkState(&list[i])
	}
	return w.b
}

func (w *writer) linkState(s *LinkState) {
	weights := s.Weights != nil && len(s.Weights) == len(s.Links)
	w.zint(s.options(weights))
	w.zint(s.PSID)
	w.zint(s.SN)
	if !s.ID.IsZero() {
		w.countedID(&s.ID)
	}
	if s.HasWhatAmI {
		w.u8(s.WhatAmI.Mask())
	}
	if s.HasLocators {
		w.locators(s.Locators)
	}
	w.zint(uint64(len(s.Links)))
	for _, psid := range s.Links {
		w.zint(psid)
	}
	if weights {
		for _, v := range s.Weights {
			w.zint(uint64(v))
		}
	}
}

func (s *LinkState) options(weights bool) (o uint64) {
	for _, x := range [...]struct {
		holds bool
		bit   uint64
	}{
		{!s.ID.IsZero(), linkHasID},
		{s.HasWhatAmI, linkHasWhatAmI},
		{s.HasLocators, linkHasLocators},
		{weights, linkHasWeights},
		{s.Gateway, linkIsGateway},
	} {
		if x.holds {
			o |= x.bit
		}
	}
	return o
}

// DecodeLinkStates decodes a list of link states, which is all of b.
func DecodeLinkStates(b []byte) ([]LinkState, error) {
	if len(b) > MaxLinkStateBytes {
		return nil, ErrTooMany
	}
	r := reader{b: b}
	n := r.zint()
	if n > MaxLinkStates {
		return nil, ErrTooMany
	}
	var list []LinkState
	for ; n > 0 && r.err == 0; n-- {
		list = append(list, r.linkState())
	}
	if r.err != 0 {
		return nil, r.err
	}
	return list, nil
}

func (r *reader) linkState() (s LinkState) {
	o := r.zint()
	s.PSID = r.zint()
	s.SN = r.zint()
	if o&linkHasID != 0 {
		s.ID = r.countedID()
	}
	if s.HasWhatAmI = o&linkHasWhatAmI != 0; s.HasWhatAmI {
		switch mask := r.u8(); mask {
		case Router.Mask():
		case Peer.Mask():
			s.WhatAmI = Peer
		case Client.Mask():
			s.WhatAmI = Client
		default:
			r.fail(ErrWhatAmI)
		}
	}
	if s.HasLocators = o&linkHasLocators != 0; s.HasLocators {
		s.Locators = r.locators()
	}
	n := r.zint()
	for k := n; k > 0 && r.err == 0; k-- {
		s.Links = append(s.Links, r.zint())
	}
	if o&linkHasWeights != 0 {
		s.Weights = []uint16{}
		for ; n > 0 && r.err == 0; n-- {
			s.Weights = append(s.Weights, r.z16())
		}
	}
	s.Gateway = o&linkIsGateway != 0
	return s
}
