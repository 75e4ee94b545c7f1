# An HSM with all that azurerm can say about one: made, activated, filled, changed and destroyed by Terraform.
# test/terraform/README.md says how to run it; docs/terraform.md explains it.

terraform {
  required_version = ">= 1.5"
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

provider "azurerm" {
  resource_provider_registrations = "none" # nothing to register: Redoubt has the providers it has
  features {
    key_vault {
      purge_soft_deleted_hardware_security_modules_on_destroy     = true
      purge_soft_deleted_hardware_security_module_keys_on_destroy = true
    }
  }
}

data "azurerm_client_config" "me" {}

resource "azurerm_resource_group" "this" {
  name     = "${var.hsm_name}-group"
  location = "westeurope"
  tags     = var.tags
}

resource "azurerm_key_vault_managed_hardware_security_module" "this" {
  name                          = var.hsm_name
  resource_group_name           = azurerm_resource_group.this.name
  location                      = azurerm_resource_group.this.location
  sku_name                      = "Standard_B1"
  tenant_id                     = data.azurerm_client_config.me.tenant_id
  admin_object_ids              = [data.azurerm_client_config.me.object_id]
  purge_protection_enabled      = false
  soft_delete_retention_days    = 7
  public_network_access_enabled = true
  tags                          = var.tags

  # Activation: the security domain is made for the holders, any two of whom can open it. Their private keys are nowhere near.
  security_domain_key_vault_certificate_ids = var.holder_certificate_ids
  security_domain_quorum                    = 2

  network_acls {
    bypass         = var.bypass
    default_action = "Allow"
  }
}
