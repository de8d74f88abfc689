module sealgate/aws-sdk-go-v1

go 1.24

require (
	github.com/aws/aws-sdk-go v1.55.8
	sealgate/contract v0.0.0
)

require github.com/jmespath/go-jmespath v0.4.0 // indirect

replace sealgate/contract => ../_go
