package zenoh

import "github.com/essa-project/essad/sdk/zenoh/wire"

// ID is a Zenoh id: up to 16 bytes, in text a hexadecimal number without leading zeros.
type ID = wire.ID

// ParseID reads the text form of an id.
func ParseID(s string) (ID, error) { return wire.ParseID(s) }

// Encoding says what is in a payload: a registered id and an optional schema. The zero value is zenoh/bytes.
type Encoding = wire.Encoding

// ParseEncoding reads "name" or "name;schema". A name that is not registered becomes a custom encoding that carries the
// whole text; "" is zenoh/bytes. It is an error only where the text is too long (255 bytes of schema).
func ParseEncoding(s string) (Encoding, error) { return wire.ParseEncoding(s) }

// Timestamp is a time of a hybrid logical clock with the id of the node that gave it. The zero value means none.
type Timestamp = wire.Timestamp

// EntityGlobalID names a publisher, subscriber, queryable or querier in the whole system.
type EntityGlobalID = wire.EntityID

// SourceInfo says which entity sent something and which number it gave to it. The zero value means that it is not said.
type SourceInfo = wire.SourceInfo

// WhatAmI is what a node says it is. The values are those of the protocol's INIT message.
type WhatAmI = wire.WhatAmI

// Priority orders messages that wait for the same link: a lower number leaves first. The zero value is PriorityData.
type Priority uint8

// The priorities.
const (
	PriorityDefault Priority = iota
	PriorityRealTime
	PriorityInteractiveHigh
	PriorityInteractiveLow
	PriorityDataHigh
	PriorityData
	PriorityDataLow
	PriorityBackground
)

// CongestionControl says what happens to a message when a queue on its way is full. The zero value is the default of the
// operation: Drop for puts and deletes, Block for queries.
type CongestionControl uint8

// The choices.
const (
	CongestionControlDefault CongestionControl = iota
	CongestionControlDrop                      // lose it; who drops it counts it
	CongestionControlBlock                     // wait for room, up to a bound
)

// Reliability is carried with a message; over links that are reliable anyway it changes nothing but its lane.
type Reliability uint8

// The choices.
const (
	ReliabilityDefault Reliability = iota // reliable
	ReliabilityReliable
	ReliabilityBestEffort
)

// QueryTarget says which of the matching queryables get a query.
type QueryTarget = wire.Target

// The targets.
const (
	QueryTargetBestMatching = wire.BestMatching // the nearest complete queryable if there is one, otherwise all
	QueryTargetAll          = wire.All
	QueryTargetAllComplete  = wire.AllComplete
)

// ConsolidationMode says what happens to several replies with the same key.
type ConsolidationMode = wire.Consolidation

// The modes.
const (
	ConsolidationModeAuto      = wire.ConsolidationAuto // None where the parameters have a _time, otherwise Latest
	ConsolidationModeNone      = wire.ConsolidationNone // every reply, at once
	ConsolidationModeMonotonic = wire.Monotonic         // at once, without those older than one that was delivered
	ConsolidationModeLatest    = wire.Latest            // one reply per key, the newest, when the query is final
)

// ReplyKeyExpr says which keys the replies to a query may have.
type ReplyKeyExpr uint8

// The choices.
const (
	ReplyKeyExprMatchingQuery ReplyKeyExpr = iota // those that intersect the query's key expression
	ReplyKeyExprAny
)

// SampleKind tells whether a sample puts or deletes its key.
type SampleKind uint8

// The kinds.
const (
	SampleKindPut SampleKind = iota
	SampleKindDelete
)

// String returns "put" or "delete".
func (k SampleKind) String() string {
	if k == SampleKindDelete {
		return "delete"
	}
	return "put"
}

// Sample is one value that was published, or replied.
type Sample struct {
	KeyExpr           KeyExpr
	Kind              SampleKind
	Payload           []byte // nil for a delete
	Encoding          Encoding
	Attachment        []byte // nil means none, empty is one
	Timestamp         Timestamp
	SourceInfo        SourceInfo
	Priority          Priority
	CongestionControl CongestionControl
	Express           bool
	Reliability       Reliability
}

// Reply is an answer to a Get: a sample, or an error reply where Err is set.
type Reply struct {
	Sample  Sample
	Err     *ReplyError
	Replier EntityGlobalID // who replied, as far as it is known
}

// ReplyError is an error reply.
type ReplyError struct {
	Payload  []byte
	Encoding Encoding
}

// qos is the quality of service byte of a message.
func qos(p Priority, c, def CongestionControl, express bool) wire.QoS {
	if p == PriorityDefault || p > PriorityBackground {
		p = PriorityData
	}
	if c == CongestionControlDefault {
		c = def
	}
	q := wire.QoS(p)
	if c == CongestionControlBlock {
		q |= wire.Block
	}
	if express {
		q |= wire.Express
	}
	return q
}

// setQoS fills what of a sample is from the message's quality of service.
func (s *Sample) setQoS(m *wire.Message) {
	s.Priority = Priority(m.QoS.Priority())
	s.CongestionControl = CongestionControlDrop
	if m.QoS&wire.Block != 0 {
		s.CongestionControl = CongestionControlBlock
	}
	s.Express = m.QoS&wire.Express != 0
	s.Reliability = ReliabilityBestEffort
	if m.Reliable {
		s.Reliability = ReliabilityReliable
	}
}
