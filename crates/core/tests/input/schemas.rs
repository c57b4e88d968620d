use bowline_core::object::Kind;
use bowline_core::schema::schema_for;

use crate::{holds, top};

#[test]
fn the_committed_schemas_are_the_generated_ones() {
    for kind in Kind::ALL {
        let text = format!("{:#}\n", schema_for(kind));
        let path = top("specs/schema").join(format!("{}.json", kind.singular()));
        holds(&path, &text).unwrap_or_else(|difference| panic!("{difference}"));
    }
}
