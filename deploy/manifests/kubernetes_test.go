package manifests

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// serviceMonitor is what we use of the Prometheus operator's type.
type serviceMonitor struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Selector          meta.LabelSelector `json:"selector"`
		NamespaceSelector struct {
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		Endpoints []struct {
			Port, Path, Interval string
			Relabelings          []struct {
				SourceLabels []string `json:"sourceLabels"`
				TargetLabel  string   `json:"targetLabel"`
			} `json:"relabelings"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// objects are what the folder's kustomization makes, by kind and name, each decoded
// strictly into the type of its API: an unknown or doubled field fails the test.
func objects(t *testing.T, folder string) map[string]any {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(deploy, folder))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, resource := range made.Resources() {
		raw, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object := decode(t, raw)
		out[resource.GetKind()+"/"+resource.GetName()] = object
		if resource.GetKind() != "Namespace" && resource.GetNamespace() != "parley" {
			t.Errorf("%s %s is in namespace %q", resource.GetKind(), resource.GetName(), resource.GetNamespace())
		}
	}
	return out
}

func decode(t *testing.T, raw []byte) any {
	t.Helper()
	var kind meta.TypeMeta
	if err := yaml.Unmarshal(raw, &kind); err != nil {
		t.Fatal(err)
	}
	types := map[string]any{
		"v1 Namespace": &core.Namespace{}, "v1 ConfigMap": &core.ConfigMap{}, "v1 Secret": &core.Secret{}, "v1 Service": &core.Service{},
		"apps/v1 Deployment": &apps.Deployment{}, "policy/v1 PodDisruptionBudget": &policy.PodDisruptionBudget{},
		"autoscaling/v2 HorizontalPodAutoscaler": &autoscaling.HorizontalPodAutoscaler{},
		"networking.k8s.io/v1 Ingress":           &networking.Ingress{}, "networking.k8s.io/v1 NetworkPolicy": &networking.NetworkPolicy{},
		"monitoring.coreos.com/v1 ServiceMonitor": &serviceMonitor{},
	}
	object := types[kind.APIVersion+" "+kind.Kind]
	if object == nil {
		t.Fatalf("%s %s is no type that this test knows", kind.APIVersion, kind.Kind)
	}
	if err := yaml.UnmarshalStrict(raw, object); err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	return object
}

func TestKubernetes(t *testing.T) {
	all := objects(t, "kubernetes")
	settings := all["ConfigMap/parley"].(*core.ConfigMap).Data
	raw, err := os.ReadFile(filepath.Join(deploy, "kubernetes/secret.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	secret := decode(t, raw).(*core.Secret)
	files := t.TempDir()
	for name, content := range secret.StringData {
		if err := os.WriteFile(filepath.Join(files, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range ours {
		t.Run(name, func(t *testing.T) {
			d, ok := all["Deployment/"+name].(*apps.Deployment)
			if !ok {
				t.Fatal("no Deployment")
			}
			checkPod(t, name, &d.Spec.Template.Spec, settings, secret, files)
			if !matches(d.Spec.Selector, d.Spec.Template.Labels) || d.Spec.Template.Labels["app.kubernetes.io/part-of"] != "parley" {
				t.Errorf("labels %v do not fit the selector or the policies", d.Spec.Template.Labels)
			}
			pdb, ok := all["PodDisruptionBudget/"+name].(*policy.PodDisruptionBudget)
			if !ok || !matches(pdb.Spec.Selector, d.Spec.Template.Labels) {
				t.Error("no PodDisruptionBudget for its pods")
			}
			if u := d.Spec.Strategy.RollingUpdate; u == nil || u.MaxUnavailable.IntValue() != 0 {
				t.Error("an upgrade takes pods away before others are there")
			}
			if _, scaled := all["HorizontalPodAutoscaler/"+name]; scaled == (d.Spec.Replicas != nil) {
				t.Error("replicas are said by the Deployment and the autoscaler, or by neither")
			}
		})
	}
}

func matches(s *meta.LabelSelector, labels map[string]string) bool {
	selector, err := meta.LabelSelectorAsSelector(s)
	if err != nil || selector.Empty() {
		return false
	}
	for key, want := range s.MatchLabels {
		if labels[key] != want {
			return false
		}
	}
	return true
}

func checkPod(t *testing.T, name string, pod *core.PodSpec, settings map[string]string, secret *core.Secret, files string) {
	t.Helper()
	c := pod.Containers[0]
	env := map[string]string{}
	for key, value := range settings {
		env[key] = value
	}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if e.Name == "PARLEY_NODE" {
			env[e.Name] = "pod-1"
		}
	}
	accepts(t, name, env, files)
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace <= endsIn(t, name, env) {
		t.Errorf("terminationGracePeriodSeconds %s is not beyond what it needs, %s", grace, endsIn(t, name, env))
	}
	for _, item := range pod.Volumes[0].Secret.Items {
		if _, ok := secret.StringData[item.Key]; !ok {
			t.Errorf("the Secret has no %s", item.Key)
		}
	}
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	for path, probe := range map[string]*core.Probe{"/livez": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || ports[probe.HTTPGet.Port.StrVal] == 0 {
			t.Errorf("no probe of %s on a port of the container", path)
		}
	}
	if len(pod.TopologySpreadConstraints) == 0 {
		t.Error("no topology spread")
	}
	for _, spread := range pod.TopologySpreadConstraints {
		if spread.LabelSelector.MatchLabels["app.kubernetes.io/name"] != name {
			t.Errorf("topology spread of %v", spread.LabelSelector)
		}
	}
	own, all := c.SecurityContext, pod.SecurityContext
	if !*all.RunAsNonRoot || !*own.ReadOnlyRootFilesystem || *own.AllowPrivilegeEscalation || len(own.Capabilities.Drop) != 1 || all.SeccompProfile == nil {
		t.Error("not what the restricted profile and a read-only image want")
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
		t.Error("no memory limit or no CPU request")
	}
}

func TestKubernetesEdges(t *testing.T) {
	all := objects(t, "kubernetes")
	edges := all["Deployment/ingress"].(*apps.Deployment)
	service := all["Service/ingress"].(*core.Service)
	if !matches(&meta.LabelSelector{MatchLabels: service.Spec.Selector}, edges.Spec.Template.Labels) || service.Spec.SessionAffinity != "" {
		t.Error("the Service does not stand for the edges, or is sticky")
	}
	hpa := all["HorizontalPodAutoscaler/ingress"].(*autoscaling.HorizontalPodAutoscaler)
	if hpa.Spec.ScaleTargetRef.Name != "ingress" || hpa.Spec.Metrics[0].Pods.Metric.Name != "parley_ingress_connections" {
		t.Errorf("the autoscaler looks at %+v", hpa.Spec)
	}
	if in := all["Ingress/parley"].(*networking.Ingress); in.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name != "ingress" {
		t.Error("the Ingress goes elsewhere")
	}
	policies := 0
	for name := range all {
		if strings.HasPrefix(name, "NetworkPolicy/") {
			policies++
		}
	}
	if none := all["NetworkPolicy/nothing"].(*networking.NetworkPolicy); policies < 4 || len(none.Spec.Ingress)+len(none.Spec.Egress) > 0 || len(none.Spec.PolicyTypes) != 2 {
		t.Error("what is not allowed is not forbidden")
	}
}

func TestKubernetesMonitoring(t *testing.T) {
	all := objects(t, "kubernetes/monitoring")
	admin := all["Service/admin"].(*core.Service)
	monitor := all["ServiceMonitor/parley"].(*serviceMonitor)
	if !matches(&monitor.Spec.Selector, admin.Labels) || monitor.Spec.Endpoints[0].Port != admin.Spec.Ports[0].Name {
		t.Error("the ServiceMonitor does not find the Service")
	}
	for _, name := range ours {
		d := objects(t, "kubernetes")["Deployment/"+name].(*apps.Deployment)
		if !matches(&meta.LabelSelector{MatchLabels: admin.Spec.Selector}, d.Spec.Template.Labels) {
			t.Errorf("the Service does not stand for %s", name)
		}
	}
}

// TestStrict tests the test: a misspelt field is found.
func TestStrict(t *testing.T) {
	raw := []byte("apiVersion: apps/v1\nkind: Deployment\nspec: {replica: 2}\n")
	if err := yaml.UnmarshalStrict(raw, &apps.Deployment{}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("replica")) {
		t.Errorf("a misspelt field: %v", err)
	}
}
