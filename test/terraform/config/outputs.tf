output "hsm_uri" {
  value = data.azurerm_key_vault_managed_hardware_security_module.this.hsm_uri
}

output "signer" {
  value = {
    id      = data.azurerm_key_vault_managed_hardware_security_module_key.signer.versioned_id
    options = sort(data.azurerm_key_vault_managed_hardware_security_module_key.signer.key_opts)
  }
}

output "role" {
  value = data.azurerm_key_vault_managed_hardware_security_module_role_definition.signer
}

output "security_domain" {
  value     = azurerm_key_vault_managed_hardware_security_module.this.security_domain_encrypted_data
  sensitive = true
}
