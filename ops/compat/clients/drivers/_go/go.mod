module sealgate/contract

go 1.24
