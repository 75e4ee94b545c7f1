locals {
  hsm            = azurerm_key_vault_managed_hardware_security_module.this.id
  crypto_user    = "21dbd100-6940-42c2-9190-5d6cb909625b"
  crypto_officer = "515eb02d-2335-4d2d-92f2-b1cbdf9c3778"
}

data "azurerm_key_vault_managed_hardware_security_module_role_definition" "crypto" {
  for_each       = { user = local.crypto_user, officer = local.crypto_officer }
  managed_hsm_id = local.hsm
  name           = each.value
}

# The administrator may not use keys until it gives itself the roles: Crypto User to make them, Crypto Officer to purge them.
resource "azurerm_key_vault_managed_hardware_security_module_role_assignment" "me" {
  for_each           = { user = "7a9cbb0e-0a5f-4c61-8a3e-2b1d5a6f0e01", officer = "7a9cbb0e-0a5f-4c61-8a3e-2b1d5a6f0e02" }
  managed_hsm_id     = local.hsm
  name               = each.value
  scope              = "/keys"
  role_definition_id = data.azurerm_key_vault_managed_hardware_security_module_role_definition.crypto[each.key].resource_manager_id
  principal_id       = data.azurerm_client_config.me.object_id
}

resource "azurerm_key_vault_managed_hardware_security_module_role_definition" "signer" {
  managed_hsm_id = local.hsm
  name           = "2fd8e2a0-6c0b-4b9e-9d5e-0c2b9c0f7a11"
  role_name      = "Document signer"
  description    = "May use keys to sign."
  permission {
    data_actions = var.role_actions
  }
}

resource "azurerm_key_vault_managed_hardware_security_module_role_assignment" "signer" {
  managed_hsm_id     = local.hsm
  name               = "7a9cbb0e-0a5f-4c61-8a3e-2b1d5a6f0e03"
  scope              = "/keys/${azurerm_key_vault_managed_hardware_security_module_key.signer.name}"
  role_definition_id = azurerm_key_vault_managed_hardware_security_module_role_definition.signer.resource_manager_id
  principal_id       = var.signer
}

data "azurerm_key_vault_managed_hardware_security_module_role_definition" "signer" {
  managed_hsm_id = local.hsm
  name           = azurerm_key_vault_managed_hardware_security_module_role_definition.signer.name
}
