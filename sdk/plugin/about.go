package plugin

import (
	pluginv1 "github.com/essa-project/essad/sdk/proto/plugin/v1"
)

// About is what a plugin says of itself.
type About struct {
	Name         string
	Version      string
	Capabilities []string
	Settings     []Setting // what it may be configured with
}

// Setting describes one key of a plugin's settings, for people and for the daemon's validation.
type Setting struct {
	Name    string
	Type    string // "string", "bytes", "integer", "duration", "bool", or the allowed words separated by |
	Default string
	Doc     string
}

// Kind tells engines from stores.
type Kind uint8

// The kinds of plugins.
const (
	EngineKind Kind = 1
	StoreKind  Kind = 2
)

// String names the kind as messages do.
func (k Kind) String() string {
	switch k {
	case EngineKind:
		return "engine"
	case StoreKind:
		return "store"
	}
	return "plugin of an unknown kind"
}

// article is the kind's name as a sentence has it.
func article(k Kind) string {
	if k == EngineKind {
		return "an " + k.String()
	}
	return "a " + k.String()
}

func (a *About) reply(kind Kind, path pluginv1.HotPath) *pluginv1.InfoReply {
	r := &pluginv1.InfoReply{
		Kind: pluginv1.Kind(kind), Name: a.Name, Version: a.Version, Capabilities: a.Capabilities, HotPath: path,
		MinFrames: frameVersions.Min, MaxFrames: frameVersions.Max,
	}
	for _, s := range a.Settings {
		r.Settings = append(r.Settings, &pluginv1.Setting{Name: s.Name, Type: s.Type, Default: s.Default, Doc: s.Doc})
	}
	return r
}

func aboutFrom(r *pluginv1.InfoReply) About {
	a := About{Name: r.GetName(), Version: r.GetVersion(), Capabilities: r.GetCapabilities()}
	for _, s := range r.GetSettings() {
		a.Settings = append(a.Settings, Setting{Name: s.GetName(), Type: s.GetType(), Default: s.GetDefault(), Doc: s.GetDoc()})
	}
	return a
}
