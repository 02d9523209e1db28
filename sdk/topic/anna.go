package topic

import (
	"strconv"
	"strings"

	"github.com/essa-project/essad/sdk/status"
)

// Kind is what a message to a node of the key-value store is about.
type Kind string

// The kinds, under the names anna-rs gives them.
const (
	KeyAddress                 Kind = "key_address"   // who owns these keys? asked of routing
	UserResponse               Kind = "user_response" // answers to a client that asked by publishing
	UserKeyAddress             Kind = "user_key_address"
	CacheUpdate                Kind = "cache_update" // changed values for the cache of an executor
	NodeJoin                   Kind = "node_join"
	NodeDepart                 Kind = "node_depart"
	SelfDepart                 Kind = "self_depart"
	ServerReplicationResponse  Kind = "server_replication_response"
	KeyRequest                 Kind = "key_request" // gets and puts
	Gossip                     Kind = "gossip"
	ServerReplicationChange    Kind = "server_replication_change"
	CacheIPResponse            Kind = "cache_ip_response"
	ManagementNodeResponse     Kind = "management_node_response"
	TCPPort                    Kind = "tcp_port"
	RoutingNotify              Kind = "routing_notify"
	RoutingReplicationResponse Kind = "routing_replication_response"
	RoutingReplicationChange   Kind = "routing_replication_change"
	Ping                       Kind = "ping"
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		KeyAddress, UserResponse, UserKeyAddress, CacheUpdate, NodeJoin, NodeDepart, SelfDepart,
		ServerReplicationResponse, KeyRequest, Gossip, ServerReplicationChange, CacheIPResponse, ManagementNodeResponse,
		TCPPort, RoutingNotify, RoutingReplicationResponse, RoutingReplicationChange, Ping,
	}
}

// AnyThread stands for every thread of a node in Node and its kin.
const AnyThread = -1

// Node is where a thread of a node takes messages of a kind.
func (n Names) Node(node string, kind Kind, thread int) string {
	t := "*"
	if thread != AnyThread {
		t = strconv.Itoa(thread)
	}
	return n.anna(wild(node), string(kind), t)
}

// ParseNode takes the key of Node apart.
func (n Names) ParseNode(key string) (node string, kind Kind, thread int, err error) {
	rest, ok := strings.CutPrefix(key, n.Anna+"/")
	c := strings.Split(rest, "/")
	if !ok || len(c) != 3 {
		return "", "", 0, invalid(key, "a thread of a node")
	}
	if node, err = Decode(c[0]); err != nil {
		return "", "", 0, status.Errorf(status.Invalid, "key %q: %w", key, err)
	}
	if thread, err = strconv.Atoi(c[2]); err != nil || thread < 0 || strconv.Itoa(thread) != c[2] {
		return "", "", 0, invalid(key, "a thread of a node")
	}
	return node, Kind(c[1]), thread, nil
}

// NodeRequest is where a thread of a node takes gets and puts.
func (n Names) NodeRequest(node string, thread int) string { return n.Node(node, KeyRequest, thread) }

// AnyRequest is where every node takes gets and puts from clients that do not know who owns the keys; the node that is
// asked finds the owners itself.
func (n Names) AnyRequest() string { return n.anna(string(KeyRequest)) }

// ClientRequest is AnyRequest for clients that are no members of the mesh: they reach the space of users' keys only.
func (n Names) ClientRequest() string { return n.anna("client", string(KeyRequest)) }

// Caches is where an executor takes changed values for its cache. One topic for each executor: it passes them on to its
// engines itself.
func (n Names) Caches(executor string) string { return n.Node(executor, CacheUpdate, 0) }

// Watch is where a client that watches keys is told of changes. id is chosen by the client, at random.
func (n Names) Watch(id string) string { return n.anna("watch", wild(id)) }

// Seed is where any node tells who belongs to the cluster.
func (n Names) Seed() string { return n.anna("seed") }

// AdvertiseRouting is where routing nodes tell each other of themselves.
func (n Names) AdvertiseRouting() string { return n.anna("advertise-routing-node") }

// MonitoringNotify is where the policy engine hears of joins and departures.
func (n Names) MonitoringNotify() string { return n.anna("monitoring_notify") }

// MonitoringResponse is where a node takes answers to the policy engine.
func (n Names) MonitoringResponse(node string) string {
	return n.anna(wild(node), "monitoring_response")
}

// DepartDone is where a departing node says that it has handed everything over.
func (n Names) DepartDone(node string) string { return n.anna(wild(node), "depart_done") }

// FeedbackReport is where clients report the latency they see.
func (n Names) FeedbackReport() string { return n.anna("feedback_report") }

// Management is where the node management takes requests: "add_nodes", "remove_node" or "query_func_nodes".
func (n Names) Management(verb string) string { return n.anna("management", wild(verb)) }

// Benchmark is where a benchmark's thread takes its commands.
func (n Names) Benchmark(thread int) string {
	return n.anna("benchmark", "benchmark_command", strconv.Itoa(thread))
}
