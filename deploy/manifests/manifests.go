// Package manifests holds what is shipped for Docker Compose, Kubernetes and systemd
// to the programs it is for: its tests read the files as those systems would, strictly,
// and hand every service the settings that it would be given. It is a module of its
// own, because the libraries that read these files are many and nothing else needs them.
package manifests
