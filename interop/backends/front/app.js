console.log("a front end");
