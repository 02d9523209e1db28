package wire

// Kind is the kind of a network message, by its id on the wire.
type Kind uint8

// The kinds of network messages.
const (
	Interest      Kind = 0x19
	ResponseFinal Kind = 0x1a
	Response      Kind = 0x1b
	Request       Kind = 0x1c
	Push          Kind = 0x1d
	Declare       Kind = 0x1e
	OAM           Kind = 0x1f
)

// Message is one network message. Kind tells which of the fields count; those that do not are zero after decoding and
// ignored by encoding. One type for all kinds lets a reader decode every message into the same memory.
//
// The byte slices and strings of a decoded message refer to the buffer it was decoded from, unless Owned is set: who
// keeps one beyond that buffer's life copies it.
type Message struct {
	Kind     Kind
	QoS      QoS
	Reliable bool // the frame's; not part of the message itself
	Owned    bool // the buffer belongs to the message: nothing needs to be copied

	// Key is the key of Push, Request and Response, what a Declare declares (Undeclare: the optional key), and what an
	// Interest is restricted to.
	Key WireExpr

	RequestID uint32 // Request, Response, ResponseFinal; per link and direction
	Target    Target // Request
	Budget    uint32 // Request: at most so many replies, 0 means any number
	TimeoutMS uint32 // Request: 0 means the receiver's default
	Responder EntityID
	NodeID    uint16 // tree root between routers

	// InterestID is an Interest's own id, or for a Declare with HasInterest the interest that it answers.
	InterestID  uint32
	HasInterest bool
	Mode        InterestMode    // Interest
	Options     InterestOptions // Interest

	Decl Declaration // Declare
	Body Body        // Push: Put or Del. Request: Query. Response: Put or Del (inside a Reply), or Err

	OAMID     uint16 // OAM
	OAMBody   []byte // OAM with ENC = ZBuf; nil means another ENC
	OAMHasInt bool   // OAM with ENC = Z64
	OAMInt    uint64

	// Timestamp is the message's own (extension 0x42), not its body's.
	Timestamp Timestamp
	// Stack is an opaque timestamp stack (extension 0x47), forwarded as it came.
	Stack []byte
}

// MaxSuffix is how long the suffix of a key may be, in bytes.
const MaxSuffix = 0xffff

// WireExpr is a key as it travels: a declared prefix and a suffix.
type WireExpr struct {
	Scope  uint16 // 0: the suffix is the whole key
	Sender bool   // Scope is an id that the message's sender declared, not its receiver; false where Scope is 0
	Suffix string // UTF-8, at most MaxSuffix bytes
}

// DeclKind is what a Declare declares, by its id on the wire.
type DeclKind uint8

// The declarations.
const (
	DeclKeyExpr      DeclKind = 0x00
	UndeclKeyExpr    DeclKind = 0x01
	DeclSubscriber   DeclKind = 0x02
	UndeclSubscriber DeclKind = 0x03
	DeclQueryable    DeclKind = 0x04
	UndeclQueryable  DeclKind = 0x05
	DeclToken        DeclKind = 0x06
	UndeclToken      DeclKind = 0x07
	DeclFinal        DeclKind = 0x1a
	declarationMask           = 0x1f
)

// Declaration is the content of a Declare; its key is the message's Key.
type Declaration struct {
	Kind     DeclKind
	ID       uint32 // the entity's id, or the key expression's (16 bit)
	Complete bool   // DeclQueryable
	Distance uint16 // DeclQueryable
	HasKey   bool   // Undecl*: Key is there (extension 0x5f)
}

// InterestMode says what an Interest asks for.
type InterestMode uint8

// The interest modes.
const (
	InterestFinal         InterestMode = 0
	InterestCurrent       InterestMode = 1
	InterestFuture        InterestMode = 2
	InterestCurrentFuture InterestMode = 3
)

// InterestOptions are the option bits of an Interest, as on the wire. Restricted is taken from this field; whether the
// key has a suffix or a sender mapping is taken from Key.
type InterestOptions uint8

// The interest options.
const (
	InterestKeyExprs    InterestOptions = 0x01
	InterestSubscribers InterestOptions = 0x02
	InterestQueryables  InterestOptions = 0x04
	InterestTokens      InterestOptions = 0x08
	InterestRestricted  InterestOptions = 0x10
	InterestAggregate   InterestOptions = 0x80
)

// Target says which of the matching queryables get a query.
type Target uint8

// The targets.
const (
	BestMatching Target = 0
	All          Target = 1
	AllComplete  Target = 2
)

// Consolidation says what the asker does with several replies of one key.
type Consolidation uint8

// The consolidation modes.
const (
	ConsolidationAuto Consolidation = 0
	ConsolidationNone Consolidation = 1
	Monotonic         Consolidation = 2
	Latest            Consolidation = 3
)

// BodyKind is the kind of a zenoh-layer body, by its id on the wire. A Reply is not a kind of its own here: a Response
// with a Put or Del body is written as a Reply around it.
type BodyKind uint8

// The bodies.
const (
	NoBody BodyKind = 0
	Put    BodyKind = 0x01
	Del    BodyKind = 0x02
	Query  BodyKind = 0x03
	Err    BodyKind = 0x05
)

// Body is what a Push, Request or Response carries.
type Body struct {
	Kind       BodyKind
	Timestamp  Timestamp // Put, Del; zero means none
	Encoding   Encoding  // Put, Err, Query with a payload
	Payload    []byte    // Put, Err, Query. A Query without a payload has HasPayload false
	HasPayload bool      // Query only: the value extension is there
	Attachment []byte    // Put, Del, Query; nil means none, empty is an attachment
	Source     SourceInfo

	Parameters    string        // Query
	Consolidation Consolidation // Query, Reply

	// Unknown are the extensions this package does not know, as chain elements with their headers, kept because a router
	// must forward them. Whether a header says that another one follows does not count. Those of a Reply are in Raw only.
	Unknown []byte
	// Raw is the whole body as it was received (for a Response from the Reply or Err header on). Encoding writes it
	// instead of the fields where it is not nil; a router forwards by it, and who changes a field sets it to nil.
	Raw []byte
}

// Encoding is the encoding of a payload: a registered id and an optional schema. The zero value is zenoh/bytes.
type Encoding struct {
	ID     uint32
	Schema string
}

// Timestamp is a time with the id of the clock it is from. The zero value means none.
type Timestamp struct {
	Time uint64 // NTP64: seconds since 1970 in the upper 32 bits, the fraction in the lower
	ID   ID
}

// EntityID names an entity (a publisher, a queryable) of a session. A zero ZID means none.
type EntityID struct {
	ZID ID
	EID uint32
}

// SourceInfo says which entity published something, and its number there. A zero ZID means none.
type SourceInfo struct {
	Entity EntityID
	SN     uint32
}

// QoS is the quality of service byte of a message: priority in bits 0-2, then the flags.
type QoS uint8

// The flags of a QoS.
const (
	Block      QoS = 0x08 // wait for room rather than drop
	Express    QoS = 0x10 // do not wait for company in the batch
	BlockFirst QoS = 0x20
)

// The priorities, and the usual QoS of each kind of message.
const (
	PriorityControl         QoS = 0
	PriorityRealTime        QoS = 1
	PriorityInteractiveHigh QoS = 2
	PriorityInteractiveLow  QoS = 3
	PriorityDataHigh        QoS = 4
	PriorityData            QoS = 5
	PriorityDataLow         QoS = 6
	PriorityBackground      QoS = 7

	DefaultQoS QoS = PriorityData            // absent on the wire: Data, Drop
	RequestQoS QoS = PriorityData | Block    // REQUEST
	ControlQoS QoS = PriorityControl | Block // DECLARE, INTEREST, OAM
)

// Priority is the priority alone.
func (q QoS) Priority() QoS { return q & 7 }

// WhatAmI is the mode that a session presents. The values are those of the INIT message.
type WhatAmI uint8

// The modes.
const (
	Router WhatAmI = 0
	Peer   WhatAmI = 1
	Client WhatAmI = 2
)

// Mask is the bit of w in the set that a Scout asks for; a link state holds it, too.
func (w WhatAmI) Mask() uint8 { return 1 << w }

// String returns "router", "peer" or "client".
func (w WhatAmI) String() string {
	switch w {
	case Router:
		return "router"
	case Peer:
		return "peer"
	case Client:
		return "client"
	}
	return "invalid"
}

// ID is a Zenoh id: 1 to 16 bytes in little-endian order without zeros at the end. The zero value is no id.
type ID [16]byte
