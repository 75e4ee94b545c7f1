variable "hsm_name" {
  description = "Name of the HSM."
  type        = string
}

variable "holder_certificate_ids" {
  description = "Addresses, with version, of the certificates of the security domain's holders."
  type        = list(string)
}

variable "signer" {
  description = "Object id of the principal that may use the key signer."
  type        = string
}

# What the second apply changes.

variable "tags" {
  type    = map(string)
  default = { stage = "first" }
}

variable "bypass" {
  type    = string
  default = "AzureServices"
}

variable "signer_operations" {
  type    = list(string)
  default = ["sign", "verify"]
}

variable "expiration" {
  type    = string
  default = "2040-01-01T00:00:00Z"
}

variable "role_actions" {
  type = list(string)
  default = [
    "Microsoft.KeyVault/managedHsm/keys/read/action",
    "Microsoft.KeyVault/managedHsm/keys/sign/action",
  ]
}

variable "rotate_after" {
  type    = string
  default = "P90D"
}
