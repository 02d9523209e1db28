package config

// Config is what one daemon is told. Each field below is a key:
//
//	key      its name in files; with its blocks' names and dots it is the key's path, as kvs.durability
//	default  its value where nobody gives one; without the tag there is none, or derive.go computes it
//	check    what a value must satisfy; checks.go has the list
//	live     a reload changes it without a restart
//	doc      what it is for, in a sentence or two
//
// A pointer is a role: it is on when its block is there. A map is a kind of labelled block: engine "wazero" {}.
type Config struct {
	Version int `key:"version" default:"1" doc:"Version of the file's format. Older versions are migrated while loading; a newer one is refused."`

	Node    Node    `key:"node" doc:"The daemon itself: its name, folders and socket."`
	Fabric  Fabric  `key:"fabric" doc:"The message fabric (Zenoh 1.x): how daemons reach each other, and how clients reach them. Where nothing is configured the daemon listens on node.socket alone."`
	Log     Log     `key:"log" doc:"What the daemon logs, to standard error."`
	Metrics Metrics `key:"metrics" doc:"Figures for Prometheus."`

	Routing   *Routing   `key:"routing" doc:"Role: membership, and where keys live."`
	KVS       *KVS       `key:"kvs" doc:"Role: stores lattice values."`
	Scheduler *Scheduler `key:"scheduler" doc:"Role: places calls and runs on executors."`
	Executor  *Executor  `key:"executor" doc:"Role: runs functions in engines."`

	Engines map[string]Engine `key:"engine" doc:"An executor engine: a plugin that runs WebAssembly. Deployments choose one by its name (essad deploy --engine)."`
	Stores  map[string]Store  `key:"store" doc:"A storage backend: a plugin that keeps values on disk."`
}

// Node is the daemon itself.
type Node struct {
	Name            string   `key:"name" check:"name" doc:"Name of this daemon, unique in the cluster. The host's name where none is given."`
	DataDir         string   `key:"data_dir" default:"/var/lib/essad" check:"path" doc:"Folder for all that must survive: stores and caches of compiled code. It is made with mode 0700 and locked."`
	RuntimeDir      string   `key:"runtime_dir" default:"/run/essad" check:"path" doc:"Folder for sockets; swept at start."`
	PluginDir       string   `key:"plugin_dir" check:"path" doc:"Folder with the plugins' programs. Where none is given: ../lib/essad/plugins beside the folder of the essad program, then that folder itself."`
	Socket          string   `key:"socket" check:"path" doc:"Unix socket on which clients reach this daemon. Where none is given: essad.sock in runtime_dir."`
	SocketMode      Mode     `key:"socket_mode" default:"0660" check:"max=0777" doc:"Permissions of the socket, in octal: who may talk to the daemon."`
	SocketGroup     string   `key:"socket_group" doc:"Group that owns the socket. The daemon's own where none is given."`
	ShutdownTimeout Duration `key:"shutdown_timeout" default:"30s" check:"min=1s,max=1h" doc:"How long stopping may take in all, calls in flight included, before what is left is ended."`
	TimerSlack      Duration `key:"timer_slack" default:"1ms" check:"min=0s,max=100ms" doc:"By how much the kernel may delay what waits for a time, in the daemon and its plugins: deadlines, intervals, a guest's sleep. Calls and puts are faster with it, since the processes are not woken as often. 0s leaves what the system says, which is 50us as a rule."`
}

// Modes of the fabric.
const (
	ModeMesh   = "mesh"
	ModeClient = "client"
)

// Implementations of the fabric.
const (
	ImplementationGo     = "go"
	ImplementationZenohc = "zenohc"
)

// Who may administer the cluster over links that are no unix socket.
const (
	AdminDeny          = "deny"
	AdminAuthenticated = "authenticated"
	AdminAllow         = "allow"
)

// Fabric is the message fabric.
type Fabric struct {
	Mode            string         `key:"mode" default:"mesh" check:"oneof=mesh|client" doc:"mesh: daemons are Zenoh peers with links to each other, and data goes straight from one to the other. client: the daemon is a client of the Zenoh routers (zenohd) in fabric.connect, which relay between all daemons; it then listens on node.socket alone."`
	Listen          []string       `key:"listen" default:"" check:"listen" doc:"Endpoints on which other daemons, and clients where the role routing is on, reach this daemon: tcp/HOST:PORT, tls/HOST:PORT or unixsock-stream/PATH. Without users or tls whoever reaches one can be a member of the cluster."`
	ListenClients   []string       `key:"listen_clients" default:"" check:"listen" doc:"Endpoints for clients only: whoever comes by one is held to what clients may do. The role routing must be on."`
	Connect         []string       `key:"connect" default:"" check:"connect" doc:"Endpoints of other daemons, or of zenohd, to link to; those that are not there yet are tried until they are. In a mesh one that is there suffices: it tells of the others (fabric.scouting.gossip)."`
	Implementation  string         `key:"implementation" default:"go" check:"oneof=go|zenohc" doc:"What speaks Zenoh: essad itself, or the official library libzenohc in a program that was built with the tag zenohc; fabric.listen is then for daemons alone, and clients come by fabric.listen_clients."`
	User            string         `key:"user" doc:"Name under which this daemon links to those that ask for one. Its password is the first line of fabric.password_file, or the variable ESSA_PASSWORD."`
	PasswordFile    string         `key:"password_file" check:"path" doc:"File with the password of fabric.user."`
	UsersFile       string         `key:"users_file" check:"path" doc:"File with those who may link to this daemon other than by node.socket, a line USER:PASSWORD for each. Where none is given nobody is asked."`
	Admin           string         `key:"admin" default:"deny" check:"oneof=deny|authenticated|allow" doc:"Whether clients that come by another way than node.socket may administer the cluster: deploy, upload modules, read logs and status, export and import all records. authenticated: those that proved who they are, by a password or a certificate."`
	Lease           Duration       `key:"lease" default:"3s" check:"min=200ms,max=5m" doc:"A daemon or client that is silent for so long is lost. Signs of life are sent at a quarter of it. A process that ends while its machine lives is noticed at once."`
	ConnectTimeout  Duration       `key:"connect_timeout" default:"5s" check:"min=100ms,max=5m" doc:"How long one attempt to link may take, by either side."`
	Queue           ByteSize       `key:"queue" default:"4MiB" check:"min=64KiB,max=1GiB" doc:"Bytes waiting to be sent on one link. Beyond it, what may be lost is lost, and what may not makes its sender wait."`
	MaxMessage      ByteSize       `key:"max_message" default:"80MiB" check:"min=1MiB,max=1GiB" doc:"Largest message that is received; a link that brings a larger one loses it."`
	MaxSessions     int            `key:"max_sessions" default:"4096" check:"min=1,max=1048576" doc:"Links to daemons and clients at once; others are refused."`
	MaxPending      int            `key:"max_pending" default:"128" check:"min=1,max=65536" doc:"Links that are being made by others at once, so that who never ends a handshake cannot keep out the rest."`
	MaxDeclarations int            `key:"max_declarations" default:"4096" check:"min=16,max=1048576" doc:"Subscriptions, queryables and tokens of one link at once; one that declares more is cut off."`
	Retry           FabricRetry    `key:"retry" doc:"Links that were lost, or are not there yet, are dialled again."`
	TLS             FabricTLS      `key:"tls" doc:"Certificates for the endpoints that begin with tls/."`
	Scouting        FabricScouting `key:"scouting" doc:"How daemons of a mesh find each other besides fabric.connect."`
}

// FabricRetry is the back-off of dialling.
type FabricRetry struct {
	First Duration `key:"first" default:"200ms" check:"min=10ms,max=1m" doc:"Time before the second attempt; it doubles with each one after."`
	Max   Duration `key:"max" default:"2s" check:"min=10ms,max=1h" doc:"Longest time between two attempts."`
}

// FabricTLS names certificates.
type FabricTLS struct {
	Certificate string `key:"certificate" check:"path" doc:"PEM file with this daemon's certificate and those between it and the authority. Needed to listen, and to link to who wants to see one."`
	Key         string `key:"key" check:"path" doc:"PEM file with the certificate's private key."`
	CA          string `key:"ca" check:"path" doc:"PEM file with the authorities whose certificates are believed. The system's, for servers, where none is given."`
	Mutual      bool   `key:"mutual" default:"true" doc:"Whether who links to this daemon must show a certificate of an authority in fabric.tls.ca."`
	VerifyName  bool   `key:"verify_name" default:"true" doc:"Whether a daemon that is dialled must have the host's name in its certificate."`
}

// FabricScouting says how daemons find each other.
type FabricScouting struct {
	Gossip           bool   `key:"gossip" default:"true" doc:"Daemons tell each other of those they are linked to, and link to all of them."`
	Multicast        bool   `key:"multicast" default:"false" doc:"Look for other daemons, and answer who looks, on the local network."`
	MulticastAddress string `key:"multicast_address" default:"224.0.0.224:7446" check:"address" doc:"Group and port of that search; Zenoh's own unless given."`
}

// Log says what is logged.
type Log struct {
	Level  string `key:"level" default:"info" check:"oneof=trace|debug|info|warn|error" live:"true" doc:"Least level that is logged."`
	Format string `key:"format" default:"text" check:"oneof=text|json" doc:"Form of a log line."`
}

// Metrics says where figures can be read.
type Metrics struct {
	Listen string `key:"listen" check:"address" doc:"Address for Prometheus to read, as 127.0.0.1:9464. Nothing listens where none is given."`
}

// Routing is the routing role.
type Routing struct{}

// Durabilities of the kvs role.
const (
	DurabilityMemory  = "memory"
	DurabilityBatched = "batched"
	DurabilitySync    = "sync"
)

// KVS is the kvs role.
type KVS struct {
	Store          string   `key:"store" doc:"Name of the store block that keeps the values; empty means memory only. Where not given: the store block, if there is just one."`
	Durability     string   `key:"durability" check:"oneof=memory|batched|sync" doc:"When a write is acknowledged: in memory, in memory and on disk within 10 ms and one sync of the store (batched; while one has waited for longer, no other is acknowledged), or once on disk (sync). Where not given: sync with a store, memory without."`
	Shards         int      `key:"shards" default:"0" check:"min=0,max=1024" doc:"Parts the keys are spread over, each handled on its own; 0 means one per core, and at least 8."`
	Memory         ByteSize `key:"memory" default:"256MiB" check:"min=1MiB" doc:"Values kept in memory. With a store the rest stays on disk; without one, writes beyond it are refused as overloaded."`
	MaxKey         ByteSize `key:"max_key" default:"4KiB" check:"min=1,max=60KiB" doc:"Longest key."`
	MaxValue       ByteSize `key:"max_value" default:"16MiB" check:"min=1KiB,max=60MiB" doc:"Largest value."`
	WriteBuffer    ByteSize `key:"write_buffer" default:"64MiB" check:"min=1MiB" doc:"Changes on their way to the store; writers wait when it is full."`
	CacheLease     Duration `key:"cache_lease" default:"30s" check:"min=1s,max=1h" doc:"How long an executor may serve a cached value without asking to be told of changes again."`
	TombstoneGrace Duration `key:"tombstone_grace" default:"1h" check:"min=1s" doc:"How long it is remembered that a key was deleted, so that old copies cannot bring it back."`
	MaxClockSkew   Duration `key:"max_clock_skew" default:"1m" check:"min=1s,max=1h" doc:"How far ahead of this daemon's clock a timestamp in a value may be; others are refused as invalid."`
	MaxWatches     int      `key:"max_watches" default:"65536" check:"min=1" doc:"Watches and waiting reads at once."`
	MaxCached      int      `key:"max_cached" default:"1048576" check:"min=1" doc:"Keys that executors cache and are told of; beyond it reads are answered without a lease, and not cached."`
	StoreRetry     Duration `key:"store_retry" default:"30s" check:"min=1ms,max=1h" doc:"How long writes wait for a store that is away, such as a plugin that is being restarted, before they fail."`
}

// Scheduler is the scheduler role.
type Scheduler struct {
	MaxModule  ByteSize           `key:"max_module" default:"256MiB" check:"min=1KiB,max=4GiB" doc:"Largest module that is stored."`
	HotModules int                `key:"hot_modules" default:"1024" check:"min=1,max=1048576" doc:"Modules remembered per executor, to send calls where their code is compiled."`
	Call       SchedulerCall      `key:"call" doc:"Calls of functions."`
	Async      SchedulerAsync     `key:"async" doc:"Calls whose result is fetched later."`
	Completed  SchedulerCompleted `key:"completed" doc:"Calls that have ended, remembered so that a client's repeated request is answered and not run again."`
}

// SchedulerCall bounds calls.
type SchedulerCall struct {
	Timeout  Duration `key:"timeout" default:"30s" check:"min=1ms,max=24h" live:"true" doc:"Time a call has where the caller names none."`
	Attempts int      `key:"attempts" default:"2" check:"min=1,max=10" live:"true" doc:"Executors a call is sent to at most, within its time and only while it cannot have had effects."`
	Queue    int      `key:"queue" default:"4096" check:"min=1,max=1048576" doc:"Calls that wait for an executor; beyond it calls are refused as overloaded."`
	MaxArgs  ByteSize `key:"max_args" default:"16MiB" check:"min=1KiB,max=60MiB" doc:"Largest arguments of a call."`
}

// SchedulerAsync bounds asynchronous calls.
type SchedulerAsync struct {
	Queue     int      `key:"queue" default:"1024" check:"min=1,max=1048576" doc:"Asynchronous calls that are waiting or running; beyond it they are refused as overloaded."`
	ResultTTL Duration `key:"result_ttl" default:"10m" check:"min=1s,max=168h" doc:"How long the result of an asynchronous call can be fetched."`
}

// SchedulerCompleted bounds what is remembered of ended calls.
type SchedulerCompleted struct {
	Calls int      `key:"calls" default:"65536" check:"min=1" doc:"Calls remembered at most."`
	Bytes ByteSize `key:"bytes" default:"64MiB" check:"min=1KiB" doc:"Their results together."`
	For   Duration `key:"for" default:"5m" check:"min=1s,max=24h" doc:"How long a call is remembered; longer than the longest call takes."`
}

// Executor is the executor role.
type Executor struct {
	Engines     []string           `key:"engines" doc:"Names of the engine blocks to use. The first one runs what names no engine. Where none is named: all of them, wazero first and the others by their names."`
	Workers     int                `key:"workers" default:"0" check:"min=0,max=4096" doc:"Calls that run at the same moment in each process of an engine; 0 means one per core."`
	Capacity    int                `key:"capacity" default:"4096" check:"min=1,max=1048576" doc:"Calls taken from schedulers and not ended; beyond it they are refused as overloaded."`
	Memory      ByteSize           `key:"memory" default:"1GiB" check:"min=16MiB" doc:"Memory of all running functions together in each engine, whose shards have equal parts of it; calls wait for room."`
	ModuleCache ByteSize           `key:"module_cache" default:"1GiB" check:"min=16MiB" doc:"Modules and their compiled code kept on disk."`
	OutputWait  Duration           `key:"output_wait" default:"2s" check:"min=0s,max=5m" doc:"How long a slow reader may hold up a run's output before some of it is lost."`
	StopGrace   Duration           `key:"stop_grace" default:"10ms" check:"min=1ms,max=1m" doc:"How long after its deadline a call may still run before its engine is killed: at once where the engine gives no sign of life, 20 times as long where it does."`
	Drain       Duration           `key:"drain" default:"20s" check:"min=0s,max=1h" doc:"How long calls in flight may take when the daemon stops. Must be less than node.shutdown_timeout."`
	Cache       ExecutorCache      `key:"cache" doc:"Values that functions read, cached beside them."`
	Logs        ExecutorLogs       `key:"logs" doc:"Output of functions."`
	Quarantine  ExecutorQuarantine `key:"quarantine" doc:"What becomes of a deployment whose calls do not end at their deadlines, so that the process they are in has to be killed with all its calls."`
	Limits      ExecutorLimits     `key:"limits" doc:"What one call may use where its deployment names nothing else. Exceeding a limit ends that call alone."`
	MaxLimits   ExecutorMaxLimits  `key:"max_limits" doc:"The most that a deployment or a run may name as its limits. One that names more is refused when it is deployed, and when it is called. 0 caps nothing. Where neither it nor executor.limits names a limit, it gets the most there may be. Executors that run calls of the same deployments should have the same."`
}

// ExecutorCache bounds the near cache.
type ExecutorCache struct {
	Bytes ByteSize `key:"bytes" default:"64MiB" check:"min=0" doc:"Size of the cache in each engine, whose shards have equal parts of it; 0 turns it off."`
}

// ExecutorLogs bounds the output that is kept.
type ExecutorLogs struct {
	Ring ByteSize `key:"ring" default:"1MiB" check:"min=4KiB,max=1GiB" doc:"Output kept for each deployment; the oldest is dropped."`
}

// ExecutorQuarantine keeps those who kill engines out of them.
type ExecutorQuarantine struct {
	Strikes int      `key:"strikes" default:"2" check:"min=0,max=1000" doc:"Processes that the calls of one version of a deployment cost before further ones are refused; 0 means that they never are. Only the call that went on past its deadline counts, not those that died with it."`
	For     Duration `key:"for" default:"10m" check:"min=1s,max=720h" doc:"How long they are refused, and how long a strike counts. Deploying another version, or essad quarantine lift, ends it at once."`
	Entries int      `key:"entries" default:"1024" check:"min=1,max=1048576" doc:"Versions, and modules that were run without a deployment, with a strike against them that are remembered; beyond it the oldest is forgotten."`
}

// ExecutorLimits bounds one invocation.
type ExecutorLimits struct {
	Memory    ByteSize `key:"memory" default:"256MiB" check:"min=64KiB" live:"true" doc:"All memories and tables of a call's instance together."`
	WallTime  Duration `key:"wall_time" default:"0s" check:"min=0s" live:"true" doc:"Time a call or run may take whatever its caller allows; 0s means no limit but the caller's."`
	CallDepth int      `key:"call_depth" default:"1000" check:"min=1,max=4096" live:"true" doc:"Calls nested in one another."`
	HostCalls int64    `key:"host_calls" default:"100000000" check:"min=1" live:"true" doc:"Imported functions called."`
	Args      ByteSize `key:"args" default:"16MiB" check:"min=1KiB,max=60MiB" live:"true" doc:"Arguments of a nested call."`
	Result    ByteSize `key:"result" default:"16MiB" check:"min=1KiB,max=60MiB" live:"true" doc:"Result of a call."`
	Log       ByteSize `key:"log" default:"16MiB" check:"min=1KiB" live:"true" doc:"Output of a call; that of a run is not limited."`
	LogLine   ByteSize `key:"log_line" default:"8KiB" check:"min=64,max=1MiB" live:"true" doc:"One line of output; a longer one is passed on in pieces."`
	Handles   int      `key:"handles" default:"65536" check:"min=1,max=16777216" live:"true" doc:"Results a call has open at once."`
	Fuel      int64    `key:"fuel" default:"0" check:"min=0" live:"true" doc:"Work of a call and of the calls it waits for, in units of about an instruction of the guest; 0 means no limit. The same call uses the same fuel on every engine and machine."`
	Stack     int64    `key:"stack" default:"0" check:"min=0" live:"true" doc:"Depth of the guest's stack, in units of about a byte of its frames; 0 means the engine's default, 16777216."`
}

// ExecutorMaxLimits bounds what may be asked for.
type ExecutorMaxLimits struct {
	Memory    ByteSize `key:"memory" default:"0" check:"min=0" live:"true" doc:"All memories and tables of a call's instance together."`
	WallTime  Duration `key:"wall_time" default:"0s" check:"min=0s" live:"true" doc:"Time of a call or run."`
	CallDepth int      `key:"call_depth" default:"0" check:"min=0" live:"true" doc:"Calls nested in one another."`
	HostCalls int64    `key:"host_calls" default:"0" check:"min=0" live:"true" doc:"Imported functions called."`
	Args      ByteSize `key:"args" default:"0" check:"min=0" live:"true" doc:"Arguments of a nested call."`
	Result    ByteSize `key:"result" default:"0" check:"min=0" live:"true" doc:"Result of a call."`
	Log       ByteSize `key:"log" default:"0" check:"min=0" live:"true" doc:"Output of a call; that of a run is not capped."`
	LogLine   ByteSize `key:"log_line" default:"0" check:"min=0" live:"true" doc:"One line of output. Beyond 1MiB no line goes anyway."`
	Handles   int      `key:"handles" default:"0" check:"min=0" live:"true" doc:"Results a call has open at once."`
	Fuel      int64    `key:"fuel" default:"0" check:"min=0" live:"true" doc:"Work of a call and of the calls it waits for."`
	Stack     int64    `key:"stack" default:"0" check:"min=0" live:"true" doc:"Depth of the guest's stack. Who names none gets no more than the engine's default, 16777216, however much there may be; and no engine gives more than 67108864."`
}

// Engine is a plugin that runs WebAssembly. Its label is its name.
type Engine struct {
	Plugin   string            `key:"plugin" check:"name" doc:"Name of the plugin, where it is not the block's: engine \"old\" { plugin = \"wazero\" }. One plugin can be several engines, with settings of their own."`
	Path     string            `key:"path" check:"path" doc:"Program to start. Where none is given: essad-plugin-PLUGIN in node.plugin_dir."`
	SHA256   string            `key:"sha256" check:"sha256" doc:"SHA-256 of the program in hexadecimal; another program is not started."`
	Shards   int               `key:"shards" default:"1" check:"min=1,max=64" doc:"Processes that run it side by side. A deployment's calls go to one of them while it has a worker free, so that one that crashes or is killed costs few others."`
	Settings map[string]any    `key:"settings" doc:"The plugin's own settings, passed on as they are; the plugin checks them."`
	Env      map[string]string `key:"env" doc:"Environment of the plugin's process. It gets nothing of the daemon's own."`
}

// Store is a plugin that keeps values. Its label is its name.
type Store struct {
	Plugin   string            `key:"plugin" check:"name" doc:"Name of the plugin, where it is not the block's."`
	Path     string            `key:"path" check:"path" doc:"Program to start. Where none is given: essad-plugin-PLUGIN in node.plugin_dir."`
	SHA256   string            `key:"sha256" check:"sha256" doc:"SHA-256 of the program in hexadecimal; another program is not started."`
	Settings map[string]any    `key:"settings" doc:"The plugin's own settings, passed on as they are; the plugin checks them."`
	Env      map[string]string `key:"env" doc:"Environment of the plugin's process. It gets nothing of the daemon's own."`
}
