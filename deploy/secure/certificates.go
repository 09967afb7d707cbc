package secure

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// validFor is how long the certificates are good; short enough to be made anew now and
// then, long enough not to surprise.
const validFor = 2 * 365 * 24 * time.Hour

// addCertificates adds an authority and two certificates that it signed. Its own key
// is not kept: whoever wants another certificate makes all anew.
func addCertificates(files map[string]string, hosts []string) error {
	authority, key, err := certificate("Parley's own authority", nil, nil, nil)
	if err != nil {
		return err
	}
	files["ca.crt"] = encode("CERTIFICATE", authority.Raw)
	for _, name := range []string{"redis", "front"} {
		cert, own, err := certificate("parley "+name, hosts, authority, key)
		if err != nil {
			return err
		}
		raw, err := x509.MarshalPKCS8PrivateKey(own)
		if err != nil {
			return err
		}
		files[name+".crt"] = encode("CERTIFICATE", cert.Raw)
		files[name+".key"] = encode("PRIVATE KEY", raw)
	}
	// HAProxy wants both in one file.
	files["front.pem"] = files["front.crt"] + files["front.key"]
	return nil
}

// certificate makes one for the hosts, signed by parent; without parent, an authority.
func certificate(name string, hosts []string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	cert := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validFor),
		BasicConstraintsValid: true,
	}
	if parent == nil {
		cert.IsCA, cert.KeyUsage = true, x509.KeyUsageCertSign
		parent, signer = cert, key
	} else {
		cert.KeyUsage, cert.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, h)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParseCertificate(raw)
	return parsed, key, err
}

func encode(kind string, raw []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}))
}
