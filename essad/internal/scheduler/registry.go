package scheduler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/client"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// registry is the register of deployments. It lives in the KVS; what is here is a cache of it, dropped whenever any
// scheduler changes a name.
//
// Keys of the registry space, scope "deployments": NAME holds the Pointer to the active version, NAME/VERSION the
// Manifest. Both are last-writer-wins values, so that of two schedulers deploying at once one wins everywhere.
type registry struct {
	kvs *client.KVS

	mu     sync.RWMutex
	byName map[string]map[string]*deployment // name -> version; "" is the active one
	cached int
	epoch  uint64 // grows with every drop: what was read before one is not cached after it
}

// deployment is one version, ready to be called.
type deployment struct {
	manifest *essav1.Manifest
	exports  map[string]string // what callers may say -> export
}

const (
	registryScope = "deployments"
	retryAlways   = "always"
	retrySafe     = "safe"
	maxHistory    = 32
	maxCached     = 4096 // deployments; beyond it the cache starts anew
	versionDigits = 12
	wrapperPrefix = "__essa_wrapper__"
)

func newRegistry(k *client.KVS) *registry {
	return &registry{kvs: k, byName: map[string]map[string]*deployment{}}
}

// follow drops cached deployments when their name changes, until ctx ends. Where changes may have been missed it drops all.
func (g *registry) follow(ctx context.Context) {
	for ctx.Err() == nil {
		_ = g.kvs.Watch(ctx, client.RegistrySpace, registryScope, client.WatchOptions{Prefix: true, Initial: true, KeysOnly: true},
			func(i client.Item) {
				if name, _, isManifest := strings.Cut(string(i.Key), "/"); !isManifest {
					g.drop(name)
				}
			})
		g.dropAll()
		select {
		case <-ctx.Done():
		case <-time.After(followAgain):
		}
	}
}

// followAgain is how long a scheduler waits before it watches the register again after the KVS was lost.
const followAgain = 100 * time.Millisecond

func (g *registry) dropAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch++
	g.forgetAll()
}

func (g *registry) forgetAll() {
	clear(g.byName)
	g.cached = 0
}

func (g *registry) drop(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch++
	g.cached -= len(g.byName[name])
	delete(g.byName, name)
}

// deployment returns a deployment by name: its active version, or the one asked for. What is undeployed has no version
// that could be called.
func (g *registry) deployment(ctx context.Context, name, version string) (*deployment, error) {
	g.mu.RLock()
	d, epoch := g.byName[name][version], g.epoch
	g.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	d, err := g.read(ctx, name, version)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.epoch == epoch {
		if g.cached >= maxCached {
			g.forgetAll()
		}
		versions := g.byName[name]
		if versions == nil {
			versions = map[string]*deployment{}
			g.byName[name] = versions
		}
		if versions[version] == nil {
			g.cached++
		}
		versions[version] = d
	}
	return d, nil
}

func (g *registry) read(ctx context.Context, name, version string) (*deployment, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	p, _, err := g.pointer(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case p == nil || p.Deleted:
		return nil, noDeployment(name)
	case version == "":
		version = p.Version
	case !slices.Contains(p.History, version):
		return nil, noVersion(name, version, p.History)
	}
	m, err := g.manifest(ctx, name, version)
	if err != nil {
		return nil, err
	}
	return newDeployment(m), nil
}

func noDeployment(name string) error {
	return status.Errorf(status.NotFound, "there is no deployment %q (essad deployments lists them)", name)
}

func noVersion(name, version string, have []string) error {
	return status.Errorf(status.NotFound, "deployment %q has no version %q; it has %s", name, version, strings.Join(have, ", "))
}

func newDeployment(m *essav1.Manifest) *deployment {
	d := &deployment{manifest: m, exports: make(map[string]string, 2*len(m.Functions))}
	for _, f := range m.Functions {
		d.exports[f] = f
		if short, ok := strings.CutPrefix(f, wrapperPrefix); ok {
			if _, taken := d.exports[short]; !taken {
				d.exports[short] = f
			}
		}
	}
	return d
}

// export finds the export that a caller means: its name, or the function's name without the wrapper's prefix.
func (d *deployment) export(function string) (string, error) {
	if e, ok := d.exports[function]; ok {
		return e, nil
	}
	var names []string
	for _, f := range d.manifest.Functions {
		names = append(names, strings.TrimPrefix(f, wrapperPrefix))
	}
	if len(names) == 0 {
		return "", status.Errorf(status.NotFound, "deployment %q has no functions: its module exports nothing that takes one i32, the length of the arguments, and returns nothing", d.manifest.Name)
	}
	const most = 16
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return "", status.Errorf(status.NotFound, "deployment %q has no function %q; it has %s",
		d.manifest.Name, function, strings.Join(names, ", "))
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return status.Errorf(status.Invalid,
			"%q is not a deployment name: want 1 to 63 of a-z 0-9 . _ -, starting and ending with a letter or digit", name)
	}
	return nil
}

// pointer returns the pointer of a name and the version of its key: nil and 0 if there never was one.
func (g *registry) pointer(ctx context.Context, name string) (*essav1.Pointer, uint64, error) {
	p := &essav1.Pointer{}
	at, err := g.load(ctx, name, p)
	if err != nil || at == 0 {
		return nil, 0, err
	}
	return p, at, nil
}

func (g *registry) manifest(ctx context.Context, name, version string) (*essav1.Manifest, error) {
	m := &essav1.Manifest{}
	at, err := g.load(ctx, name+"/"+version, m)
	if err == nil && at == 0 {
		err = status.Errorf(status.NotFound, "deployment %q has no version %q", name, version)
	}
	return m, err
}

// load reads one message of the register and returns the version of its key, 0 if it is not there.
func (g *registry) load(ctx context.Context, key string, m proto.Message) (at uint64, err error) {
	raw, at, err := g.kvs.Data(ctx, client.RegistrySpace, registryScope, []byte(key))
	if status.Of(err) == status.NotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return at, unmarshal(raw, m)
}

func (g *registry) save(ctx context.Context, key string, m proto.Message, o client.PutOptions) error {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return status.Errorf(status.Internal, "encode %T: %v", m, err)
	}
	_, err = g.kvs.Set(ctx, client.RegistrySpace, registryScope, []byte(key), raw, o)
	return err
}

func unmarshal(raw []byte, m proto.Message) error {
	if err := proto.Unmarshal(raw, m); err != nil {
		return status.Errorf(status.Corrupt, "stored %T: %w", m, err)
	}
	return nil
}

// versionOf names a manifest by what it says, not by when or how it came here.
func versionOf(m *essav1.Manifest) (string, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(&essav1.Manifest{
		Name: m.Name, Module: m.Module, Limits: m.Limits, Env: m.Env, Engine: m.Engine, Retry: m.Retry,
		Isolation: m.Isolation, WarmUp: m.WarmUp,
	})
	if err != nil {
		return "", status.Errorf(status.Internal, "encode a manifest: %v", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])[:versionDigits], nil
}

// change replaces the pointer of a name by what f makes of it (nil: there never was one), and drops the name from the
// cache. Where another scheduler, or another request to this one, changed it meanwhile, f is asked again: otherwise one of
// two deployments at once would be missing from the history, and its module would be collected.
func (g *registry) change(ctx context.Context, name string, f func(*essav1.Pointer) (*essav1.Pointer, error)) error {
	for try := 1; ; try++ {
		p, at, err := g.pointer(ctx, name)
		if err != nil {
			return err
		}
		if p, err = f(p); err != nil {
			return err
		}
		err = g.save(ctx, name, p, client.PutOptions{If: client.Is(at)})
		g.drop(name)
		if status.Of(err) == status.Conflict && try < maxChanges {
			continue
		}
		return err
	}
}

// maxChanges is how often a change of a name is tried that others change at the same time.
const maxChanges = 16

// activate points name to a version that is stored.
func (g *registry) activate(ctx context.Context, name, version string) error {
	return g.change(ctx, name, func(p *essav1.Pointer) (*essav1.Pointer, error) { return pointTo(p, version), nil })
}

// pointTo is the pointer after p that points to version.
func pointTo(p *essav1.Pointer, version string) *essav1.Pointer {
	next := &essav1.Pointer{Version: version, History: []string{version}}
	for _, v := range p.GetHistory() {
		if v != version && len(next.History) < maxHistory {
			next.History = append(next.History, v)
		}
	}
	return next
}

// names lists the names that are or were deployed, with their pointers.
func (g *registry) names(ctx context.Context) (map[string]*essav1.Pointer, error) {
	out := map[string]*essav1.Pointer{}
	var bad error
	err := g.kvs.ScanAll(ctx, client.RegistrySpace, registryScope, client.ScanOptions{}, func(i client.Item) bool {
		if strings.Contains(string(i.Key), "/") {
			return true
		}
		p := &essav1.Pointer{}
		var raw []byte
		if raw, bad = client.PlainData(i.Value); bad == nil {
			bad = unmarshal(raw, p)
		}
		out[string(i.Key)] = p
		return bad == nil
	})
	return out, errors.Join(err, bad)
}

// deployments lists what is deployed, by name.
func (g *registry) deployments(ctx context.Context) ([]*essav1.Deployment, error) {
	pointers, err := g.names(ctx)
	if err != nil {
		return nil, err
	}
	var out []*essav1.Deployment
	for name, p := range pointers {
		if p.Deleted {
			continue
		}
		m, err := g.manifest(ctx, name, p.Version)
		if err != nil {
			return nil, err
		}
		out = append(out, &essav1.Deployment{Active: m, History: p.History})
	}
	slices.SortFunc(out, func(a, b *essav1.Deployment) int { return strings.Compare(a.Active.Name, b.Active.Name) })
	return out, nil
}
