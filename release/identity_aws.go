package release

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/smithy-go"
)

// ecrHost is a private registry of Amazon ECR, with its region
// (https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html).
var ecrHost = regexp.MustCompile(`^[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)$`)

// AWSIdentity gives a source of NewImageRegistry: a docker config with a token for each of the registries that is one
// of Amazon ECR, which is the identity's that the pod has. That is the one that Amazon's libraries find: the role that
// EKS gives the pod by its service account (AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE) or by Pod Identity
// (AWS_CONTAINER_CREDENTIALS_FULL_URI), or its host's. A token is used until a minute before its end, twelve hours
// later. Errors hold nothing of what AWS answers but its code.
func AWSIdentity(registries ...string) func(context.Context) ([]byte, error) {
	var tokens kept
	return func(ctx context.Context) ([]byte, error) {
		return tokens.get(ctx, func(ctx context.Context) ([]byte, time.Time, error) {
			auths, first := make(map[string]dockerAuth), time.Now().Add(24*time.Hour)
			for _, host := range registries {
				found := ecrHost.FindStringSubmatch(host)
				if found == nil {
					continue
				}
				auth, until, err := ecrToken(ctx, found[1])
				if err != nil {
					return nil, time.Time{}, fmt.Errorf("get a token of %s: %w", host, err)
				}
				auths[host] = auth
				if until.Before(first) {
					first = until
				}
			}
			if len(auths) == 0 {
				return nil, time.Time{}, errNoRegistry
			}
			config, err := json.Marshal(map[string]any{"auths": auths})
			return config, first, err
		})
	}
}

// ecrToken gets the token for the registries of a region.
func ecrToken(ctx context.Context, region string) (dockerAuth, time.Time, error) {
	fail := func(err error) (dockerAuth, time.Time, error) { return dockerAuth{}, time.Time{}, err }
	config, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(region), awsconfig.WithRetryMaxAttempts(2),
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(identityTimeout)))
	if err != nil {
		return fail(errors.New("the configuration of AWS in the pod's environment cannot be read"))
	}
	if _, err := config.Credentials.Retrieve(ctx); err != nil {
		return fail(noRole(ctx, err))
	}
	answer, err := ecr.NewFromConfig(config).GetAuthorizationToken(ctx, nil)
	if err != nil {
		return fail(fmt.Errorf("ecr:GetAuthorizationToken: %w", refusedByAWS(ctx, err)))
	}
	if len(answer.AuthorizationData) == 0 {
		return fail(errors.New("no token is in its answer"))
	}
	data := answer.AuthorizationData[0]
	pair, err := base64.StdEncoding.DecodeString(aws.ToString(data.AuthorizationToken))
	user, password, ok := strings.Cut(string(pair), ":")
	if err != nil || !ok {
		return fail(errors.New("the token in its answer is not a name and a password"))
	}
	return dockerAuth{user, password}, aws.ToTime(data.ExpiresAt), nil
}

// noRole says which identity is missing or is refused.
func noRole(ctx context.Context, err error) error {
	role := os.Getenv("AWS_ROLE_ARN")
	switch _, answered := errors.AsType[smithy.APIError](err); {
	case answered || ctx.Err() != nil:
		return fmt.Errorf("the pod's identity of AWS, role %q: %w", role, refusedByAWS(ctx, err))
	case role != "":
		return fmt.Errorf("the pod's identity of AWS, role %q, cannot be used: AWS_WEB_IDENTITY_TOKEN_FILE names no file "+
			"that can be read, or AWS cannot be reached", role)
	}
	return errors.New("the pod has no identity of AWS: neither AWS_ROLE_ARN nor AWS_CONTAINER_CREDENTIALS_FULL_URI is " +
		"set, and its host gives none; is its service account linked to a role?")
}

var awsCode = regexp.MustCompile(`^[A-Za-z]{1,60}$`)

// refusedByAWS says in our own words why AWS gives nothing.
func refusedByAWS(ctx context.Context, err error) error {
	if answer, ok := errors.AsType[smithy.APIError](err); ok && awsCode.MatchString(answer.ErrorCode()) {
		return fmt.Errorf("AWS answers %s", answer.ErrorCode())
	}
	if ctx.Err() != nil {
		return fmt.Errorf("AWS does not answer: %w", context.Cause(ctx))
	}
	return errors.New("AWS cannot be reached, or its answer cannot be understood")
}
