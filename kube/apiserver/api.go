package apiserver

import (
	"errors"

	appsv1 "k8s.io/client-go/kubernetes/typed/apps/v1"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	batchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	policyv1 "k8s.io/client-go/kubernetes/typed/policy/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// API is the part of the API server that we use. It is a part of kubernetes.Interface, so that the fake one will do;
// the real one is put together here, for a whole clientset would make the binary bigger by all the groups that it
// knows.
type API interface {
	CoreV1() corev1.CoreV1Interface
	AppsV1() appsv1.AppsV1Interface
	BatchV1() batchv1.BatchV1Interface
	PolicyV1() policyv1.PolicyV1Interface
	CoordinationV1() coordinationv1.CoordinationV1Interface
	AuthenticationV1() authenticationv1.AuthenticationV1Interface
	AuthorizationV1() authorizationv1.AuthorizationV1Interface
}

type clientSet struct {
	core           *corev1.CoreV1Client
	apps           *appsv1.AppsV1Client
	batch          *batchv1.BatchV1Client
	policy         *policyv1.PolicyV1Client
	coordination   *coordinationv1.CoordinationV1Client
	authentication *authenticationv1.AuthenticationV1Client
	authorization  *authorizationv1.AuthorizationV1Client
}

func (s *clientSet) CoreV1() corev1.CoreV1Interface                         { return s.core }
func (s *clientSet) AppsV1() appsv1.AppsV1Interface                         { return s.apps }
func (s *clientSet) BatchV1() batchv1.BatchV1Interface                      { return s.batch }
func (s *clientSet) PolicyV1() policyv1.PolicyV1Interface                   { return s.policy }
func (s *clientSet) CoordinationV1() coordinationv1.CoordinationV1Interface { return s.coordination }

func (s *clientSet) AuthenticationV1() authenticationv1.AuthenticationV1Interface {
	return s.authentication
}

func (s *clientSet) AuthorizationV1() authorizationv1.AuthorizationV1Interface {
	return s.authorization
}

// NewClientSet makes the clients. They share one connection and one allowance of requests, with two exceptions. Leases
// have their own, or leadership would be lost when there is much else to ask. And so has what callers have us ask about
// them, or those who call often would have a deletion wait.
func NewClientSet(config *rest.Config) (API, error) {
	config = rest.CopyConfig(config)
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	leases := rest.CopyConfig(config)
	leases.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(5, 10)
	reviews := rest.CopyConfig(config)
	if config.RateLimiter != nil {
		reviews.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst)
	}
	var set clientSet
	errs := make([]error, 7)
	set.core, errs[0] = corev1.NewForConfigAndClient(config, h)
	set.apps, errs[1] = appsv1.NewForConfigAndClient(config, h)
	set.policy, errs[2] = policyv1.NewForConfigAndClient(config, h)
	set.coordination, errs[3] = coordinationv1.NewForConfigAndClient(leases, h)
	set.authorization, errs[4] = authorizationv1.NewForConfigAndClient(reviews, h)
	set.authentication, errs[5] = authenticationv1.NewForConfigAndClient(reviews, h)
	set.batch, errs[6] = batchv1.NewForConfigAndClient(config, h)
	return &set, errors.Join(errs...)
}
