resource "azurerm_key_vault_managed_hardware_security_module_key" "signer" {
  managed_hsm_id  = local.hsm
  name            = "signer"
  key_type        = "EC-HSM"
  curve           = "P-256"
  key_opts        = var.signer_operations
  not_before_date = "2024-01-01T00:00:00Z"
  expiration_date = var.expiration
  tags            = var.tags
  depends_on      = [azurerm_key_vault_managed_hardware_security_module_role_assignment.me]
}

resource "azurerm_key_vault_managed_hardware_security_module_key" "wrapper" {
  managed_hsm_id = local.hsm
  name           = "wrapper"
  key_type       = "RSA-HSM"
  key_size       = 2048
  key_opts       = ["wrapKey", "unwrapKey", "encrypt", "decrypt"]
  depends_on     = [azurerm_key_vault_managed_hardware_security_module_role_assignment.me]
}

resource "azurerm_key_vault_managed_hardware_security_module_key" "coin" {
  managed_hsm_id = local.hsm
  name           = "coin"
  key_type       = "EC-HSM"
  curve          = "P-256K"
  key_opts       = ["sign", "verify"]
  depends_on     = [azurerm_key_vault_managed_hardware_security_module_role_assignment.me]
}

resource "azurerm_key_vault_managed_hardware_security_module_key_rotation_policy" "wrapper" {
  managed_hsm_key_id  = azurerm_key_vault_managed_hardware_security_module_key.wrapper.id
  expire_after        = "P1Y"
  time_after_creation = var.rotate_after
}

data "azurerm_key_vault_managed_hardware_security_module_key" "signer" {
  managed_hsm_id = local.hsm
  name           = azurerm_key_vault_managed_hardware_security_module_key.signer.name
}

data "azurerm_key_vault_managed_hardware_security_module" "this" {
  name                = azurerm_key_vault_managed_hardware_security_module.this.name
  resource_group_name = azurerm_resource_group.this.name
}
