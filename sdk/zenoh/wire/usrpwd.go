package wire

import (
	"crypto/hmac"
	"crypto/sha3"
	"encoding/binary"
	"hash"
)

// UsrPwdStep is a step of authentication by user and password.
type UsrPwdStep uint8

// The steps.
const (
	UsrPwdNone  UsrPwdStep = iota // none of it is there
	UsrPwdPlain                   // INIT: I can do it. OPEN with Ack: you have done it
	UsrPwdNonce                   // INIT with Ack: Nonce
	UsrPwdProof                   // OPEN: User and HMAC
)

// UsrPwd is what the Auth extensions of INIT and OPEN hold for authentication by user and password.
type UsrPwd struct {
	Step  UsrPwdStep
	Nonce uint64
	User  string
	HMAC  []byte
}

const usrPwdID = 0x02

// AppendUsrPwd appends the body of an Auth extension with u and nothing else.
func AppendUsrPwd(b []byte, u *UsrPwd) []byte {
	w := writer{b: b}
	switch u.Step {
	case UsrPwdPlain:
		w.header(usrPwdID | encUnit)
	case UsrPwdNonce:
		w.header(usrPwdID | encZ64)
		w.zint(u.Nonce)
	case UsrPwdProof:
		w.header(usrPwdID | encZBuf)
		n := len(u.User) + len(u.HMAC)
		w.zint(uint64(n + zintLen(uint64(len(u.User))) + zintLen(uint64(len(u.HMAC)))))
		w.text(u.User)
		w.bytes(u.HMAC)
	}
	return w.b
}

// DecodeUsrPwd decodes the body of an Auth extension, which is a chain of extensions itself. Those of other ways to
// authenticate are ignored.
func DecodeUsrPwd(b []byte) (UsrPwd, error) {
	var u UsrPwd
	r := reader{b: b}
	for h := byte(flagZ); h&flagZ != 0; {
		h = r.u8()
		switch h &^ flagZ {
		case usrPwdID | encUnit:
			u.Step = UsrPwdPlain
		case usrPwdID | encZ64:
			u.Step, u.Nonce = UsrPwdNonce, r.zint()
		case usrPwdID | encZBuf:
			s := r.sub()
			u.Step, u.User, u.HMAC = UsrPwdProof, s.text(uint64(len(b))), s.zbuf()
			r.merge(&s)
		default:
			r.skipExt(h)
		}
	}
	if _, err := r.done(); err != nil {
		return UsrPwd{}, err
	}
	return u, nil
}

// UsrPwdHMAC returns the proof that somebody knows the password, for the nonce that the other side sent.
func UsrPwdHMAC(nonce uint64, password string) []byte {
	var key [8]byte
	binary.LittleEndian.PutUint64(key[:], nonce)
	h := hmac.New(func() hash.Hash { return sha3.New256() }, key[:])
	_, _ = h.Write([]byte(password))
	return h.Sum(nil)
}
