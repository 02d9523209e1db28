// Package client is essad for applications: runs, calls, deployments and state, over a Session of the fabric.
//
// A Client holds no connection of its own and no goroutine; the caller opens the Session and closes it. Every method takes
// a context, whose deadline travels with the request, and returns errors with a class (sdk/status).
//
// It may import sdk/{transport,topic,lattice,ring,proto,status,hlc}, and never an implementation of the fabric.
package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/hlc"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/topic"
	"github.com/essa-project/essad/sdk/transport"
)

// Client talks to the schedulers of a cluster.
type Client struct {
	session transport.Session
	names   topic.Names
}

// New makes a client over s, which stays the caller's.
func New(s transport.Session) *Client { return &Client{session: s, names: topic.Default} }

// CallOptions are the optional parts of a call.
type CallOptions struct {
	ID      hlc.ID // sent again with the same id, a call is not run twice; zero: a fresh one
	Version string // a version of the deployment; empty: the active one
	Stats   bool   // ask what the call used
	// Timeout is the call's own where ctx is not to be its deadline, as for CallAsync; 0: ctx's deadline.
	Timeout time.Duration
}

// CallResult is what a function returned.
type CallResult struct {
	Value    []byte
	HasValue bool // the function set a result, be it an empty one
	Stats    *essav1.Stats
}

// Call calls a function of a deployment and waits for its result. ctx's deadline is the call's.
func (c *Client) Call(ctx context.Context, deployment, function string, args []byte, o CallOptions) (*CallResult, error) {
	att, err := proto.Marshal(callMeta(ctx, o))
	if err != nil {
		return nil, status.Errorf(status.Internal, "client: encode a call: %v", err)
	}
	s, err := transport.Ask(ctx, c.session, transport.Selector{KeyExpr: c.names.Call(deployment, function, "")},
		transport.GetOptions{Payload: args, Attachment: att, Timeout: -1})
	if err != nil {
		return nil, callError(err, deployment+"/"+function)
	}
	var out essav1.Outcome
	if err := proto.Unmarshal(s.Attachment, &out); err != nil {
		return nil, status.Errorf(status.Internal, "client: the reply has no Outcome: %v", err)
	}
	return &CallResult{Value: s.Payload, HasValue: out.HasValue, Stats: out.Stats}, nil
}

// callError tells of a missed deadline and of giving up in the same words whoever noticed first: this side, the fabric, the
// scheduler or the engine.
func callError(err error, name string) error {
	switch status.Of(err) {
	case status.Deadline:
		return status.Errorf(status.Deadline, "call of %s did not end before its deadline", name)
	case status.Cancelled:
		return status.Errorf(status.Cancelled, "call of %s was cancelled", name)
	}
	return noScheduler(err)
}

func callMeta(ctx context.Context, o CallOptions) *essav1.CallMeta {
	m := &essav1.CallMeta{Version: o.Version, WantStats: o.Stats}
	if !o.ID.IsZero() {
		m.Id = o.ID[:]
	}
	if o.Timeout > 0 {
		m.DeadlineUnixNano = time.Now().Add(o.Timeout).UnixNano()
	} else if d, ok := ctx.Deadline(); ok {
		m.DeadlineUnixNano = d.UnixNano()
	}
	return m
}

// noScheduler says what it means that nobody answers.
func noScheduler(err error) error {
	if errors.Is(err, transport.ErrNobody) {
		return status.Errorf(status.Unavailable,
			"%w (is a daemon with a scheduler running, and has it finished starting? one that was lost meanwhile may have run it)", err)
	}
	return err
}

// CallAsync starts a call and returns its id at once; Result fetches what came of it.
func (c *Client) CallAsync(ctx context.Context, deployment, function string, args []byte, o CallOptions) (hlc.ID, error) {
	req := &essav1.AsyncRequest{Deployment: deployment, Function: function, Args: args, Meta: callMeta(ctx, o)}
	var out essav1.AsyncReply
	if err := c.admin(ctx, "call-async", req, &out); err != nil {
		return hlc.ID{}, err
	}
	if len(out.Id) != len(hlc.ID{}) {
		return hlc.ID{}, status.Errorf(status.Internal, "client: the reply has no call id")
	}
	return hlc.ID(out.Id), nil
}

// Result returns the value of an asynchronous call. While it still runs, after waiting for at most wait, that is an
// Unavailable error; a call that failed returns its error.
func (c *Client) Result(ctx context.Context, id hlc.ID, wait time.Duration) ([]byte, error) {
	var out essav1.ResultReply
	req := &essav1.ResultRequest{Id: id[:], WaitNano: int64(wait)}
	if err := c.adminWithin(ctx, max(wait, 0)+adminTimeout, "result", req, &out); err != nil {
		return nil, err
	}
	switch out.State {
	case "done":
		return out.Value, nil
	case "failed":
		return nil, status.FromCode(out.ErrorCode, out.ErrorText)
	}
	return nil, status.Errorf(status.Unavailable, "call %s is still running", id)
}

// Deploy makes a version of a deployment active. The module must have been uploaded. The reply tells the version, and
// whether it was active already.
func (c *Client) Deploy(ctx context.Context, m *essav1.Manifest) (*essav1.DeployReply, error) {
	var out essav1.DeployReply
	return &out, c.admin(ctx, "deploy", &essav1.DeployRequest{Manifest: m}, &out)
}

// Undeploy takes a deployment away. Its state stays.
func (c *Client) Undeploy(ctx context.Context, name string) error {
	return c.admin(ctx, "undeploy", &essav1.NameRequest{Name: name}, nil)
}

// Rollback makes an earlier version active: the one before the active one where version is empty.
func (c *Client) Rollback(ctx context.Context, name, version string) (*essav1.Manifest, error) {
	var out essav1.DeployReply
	err := c.admin(ctx, "rollback", &essav1.NameRequest{Name: name, Version: version}, &out)
	return out.Manifest, err
}

// Deployments lists what is deployed, by name.
func (c *Client) Deployments(ctx context.Context) ([]*essav1.Deployment, error) {
	var out essav1.DeploymentsReply
	err := c.admin(ctx, "deployments", nil, &out)
	return out.Deployments, err
}

// Modules lists the stored modules.
func (c *Client) Modules(ctx context.Context) ([]*essav1.Module, error) {
	var out essav1.ModulesReply
	err := c.admin(ctx, "modules", nil, &out)
	return out.Modules, err
}

// CollectModules removes modules that no deployment's history names and that are older than age.
func (c *Client) CollectModules(ctx context.Context, age time.Duration, dryRun bool) (*essav1.GCReply, error) {
	var out essav1.GCReply
	return &out, c.admin(ctx, "gc", &essav1.GCRequest{DryRun: dryRun, OlderThanNano: int64(age)}, &out)
}

// Processes lists the calls and runs in flight, of every scheduler.
func (c *Client) Processes(ctx context.Context) ([]*essav1.Process, error) {
	var all []*essav1.Process
	err := c.everybody(ctx, c.names.Admin("scheduler", "ps"), nil, func(raw []byte) {
		var out essav1.PSReply
		if proto.Unmarshal(raw, &out) == nil {
			all = append(all, out.Processes...)
		}
	})
	return all, err
}

// Nodes asks every daemon for its status.
func (c *Client) Nodes(ctx context.Context) ([]*essav1.NodeStatus, error) {
	var all []*essav1.NodeStatus
	err := c.everybody(ctx, c.names.Admin("node", "status"), nil, func(raw []byte) {
		out := &essav1.NodeStatus{}
		if proto.Unmarshal(raw, out) == nil {
			all = append(all, out)
		}
	})
	slices.SortStableFunc(all, func(a, b *essav1.NodeStatus) int { return cmp.Compare(a.Node, b.Node) })
	return all, err
}

// Logs returns the newest output of a deployment, about maxBytes of it per executor, oldest first.
func (c *Client) Logs(ctx context.Context, deployment string, maxBytes int64) ([]*essav1.LogRecord, error) {
	raw, err := proto.Marshal(&essav1.LogsRequest{Deployment: deployment, MaxBytes: maxBytes})
	if err != nil {
		return nil, status.Errorf(status.Internal, "client: encode a request for logs: %v", err)
	}
	var all []*essav1.LogRecord
	err = c.everybody(ctx, c.names.ExecutorLogs("*"), raw, func(raw []byte) {
		var out essav1.LogsReply
		if proto.Unmarshal(raw, &out) == nil {
			all = append(all, out.Records...)
		}
	})
	slices.SortStableFunc(all, func(a, b *essav1.LogRecord) int { return cmp.Compare(a.TimeUnixNano, b.TimeUnixNano) })
	return all, err
}

// everybody asks all who answer on key, and calls h for each answer. An error that one of them answers with counts only if
// nobody has anything else to say: it may be the refusal of all of them by the hub.
func (c *Client) everybody(ctx context.Context, key string, payload []byte, h func(raw []byte)) error {
	answers := 0
	var refused error
	opts := transport.GetOptions{Payload: payload, Target: transport.All, Consolidation: transport.None}
	err := c.session.Get(ctx, transport.Selector{KeyExpr: key}, opts, func(r transport.Reply) {
		if r.Err != nil {
			refused = r.Err.AsError()
			return
		}
		answers++
		h(r.Sample.Payload)
	})
	if err == nil && answers == 0 {
		return refused
	}
	return err
}

// FollowLogs calls h for the newest records of a deployment, as Logs returns them, and then for each that it writes, until
// ctx ends, which is no error. A follower that is too slow misses records.
func (c *Client) FollowLogs(ctx context.Context, deployment string, past int64, h func(*essav1.LogRecord)) error {
	ctx, cancel := context.WithCancel(ctx)
	live := make(chan *essav1.LogRecord)
	// Before the past is asked for, so that nothing falls between the two; what is in both is shown once.
	sub, err := c.session.Subscribe(c.names.Log(deployment), transport.SubscribeOptions{}, func(s transport.Sample) {
		rec := &essav1.LogRecord{}
		if proto.Unmarshal(s.Payload, rec) != nil {
			return
		}
		select {
		case live <- rec:
		case <-ctx.Done():
		}
	})
	if err != nil {
		cancel()
		return err
	}
	defer sub.Close()
	defer cancel()
	recs, err := c.Logs(ctx, deployment, past)
	if err != nil {
		return err
	}
	shown := map[logKey]bool{}
	for _, r := range recs {
		shown[keyOfLog(r)] = true
		h(r)
	}
	tick := time.NewTicker(followCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-live:
			if !shown[keyOfLog(r)] {
				h(r)
			}
		case <-tick.C:
			clear(shown)
			// A subscription does not tell that its session is lost.
			if err := c.session.GetLiveliness(ctx, c.names.Alive("*", "*"), func(string) {}); err != nil && ctx.Err() == nil {
				return status.Errorf(status.Unavailable, "the log is no longer followed: %w", err)
			}
		}
	}
}

// followCheck is how often one who follows looks whether there is still somebody to follow.
const followCheck = 2 * time.Second

type logKey struct {
	executor, call, line string
	time                 int64
}

func keyOfLog(r *essav1.LogRecord) logKey {
	return logKey{r.Executor, string(r.Call), string(r.Line), r.TimeUnixNano}
}

// admin sends one administrative request to a scheduler.
func (c *Client) admin(ctx context.Context, verb string, in, out proto.Message) error {
	return c.adminWithin(ctx, adminTimeout, verb, in, out)
}

// adminWithin is admin with the time it may take where ctx has no deadline.
func (c *Client) adminWithin(ctx context.Context, timeout time.Duration, verb string, in, out proto.Message) error {
	var raw []byte
	if in != nil {
		var err error
		if raw, err = proto.Marshal(in); err != nil {
			return status.Errorf(status.Internal, "client: encode %s: %v", verb, err)
		}
	}
	o := transport.GetOptions{Payload: raw}
	if _, bounded := ctx.Deadline(); !bounded {
		o.Timeout = timeout
	}
	s, err := transport.Ask(ctx, c.session, transport.Selector{KeyExpr: c.names.Admin("scheduler", verb)}, o)
	if err != nil {
		return noScheduler(err)
	}
	if out == nil {
		return nil
	}
	if err := proto.Unmarshal(s.Payload, out); err != nil {
		return status.Errorf(status.Internal, "client: reply to %s cannot be read: %v", verb, err)
	}
	return nil
}

// adminTimeout bounds an administrative request whose context has no deadline.
const adminTimeout = 60 * time.Second

// The messages that callers fill in or read, under the names this package gives them.
type (
	// Manifest is one version of a deployment.
	Manifest = essav1.Manifest
	// Limits bound one invocation.
	Limits = essav1.Limits
	// DeployReply tells what a Deploy did.
	DeployReply = essav1.DeployReply
	// Deployment is a name with its active version.
	Deployment = essav1.Deployment
	// Module is a stored module.
	Module = essav1.Module
	// NodeStatus is what a daemon says of itself.
	NodeStatus = essav1.NodeStatus
	// PluginStatus is what a daemon says of a plugin's process.
	PluginStatus = essav1.PluginStatus
	// ExecutorInfo is what an executor says of itself.
	ExecutorInfo = essav1.ExecutorInfo
	// FabricStatus is what a daemon's node of the fabric is and whom it is linked to.
	FabricStatus = essav1.FabricStatus
	// LogRecord is one line a deployment wrote.
	LogRecord = essav1.LogRecord
	// Process is a call or run in flight.
	Process = essav1.Process
)
