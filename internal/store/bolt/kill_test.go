package bolt_test

const childEnv = "REDOUBT_STORE_TEST_CHILD"

func child() {}
