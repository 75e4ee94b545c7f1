# What the second apply changes: every attribute that azurerm changes in place.
tags              = { stage = "second", owner = "operations" }
bypass            = "None"
signer_operations = ["verify"]
expiration        = "2041-06-01T00:00:00Z"
rotate_after      = "P180D"
role_actions = [
  "Microsoft.KeyVault/managedHsm/keys/read/action",
  "Microsoft.KeyVault/managedHsm/keys/verify/action",
]
